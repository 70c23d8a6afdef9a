"""Strict checks of loss sections: as they are written, what sections say together, and how mistakes are told."""
