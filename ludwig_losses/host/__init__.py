"""Everything that touches Ludwig's inside or differs between its versions; nothing here knows a particular loss."""
