"""Everything that touches Ludwig's internals or differs between its versions; nothing here knows a particular loss."""

# The schema package comes first: on both generations the loss and metric modules cannot be the first Ludwig import.
import ludwig.schema  # noqa: F401
