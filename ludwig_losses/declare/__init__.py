"""What a loss is: its schema and its module. The interface of plug-ins, re-exported by ``ludwig_losses``."""

# The schema package comes first: on both generations the loss and metric modules cannot be the first Ludwig import.
import ludwig.schema  # noqa: F401
