"""What every command of Ludwig begins with: the server of :mod:`commands` has done it before it forks."""

# ludwig.cli imports the module of a command when the command is run.
import ludwig.cli
import ludwig.evaluate
import ludwig.experiment
import ludwig.predict
import ludwig.train  # noqa: F401
from ludwig.config_validation.validation import get_schema, get_validator
from ludwig.constants import MODEL_ECD

from ludwig_losses.host.config.schemas import each_checked_once

# For as long as the server lives.
always = each_checked_once()
always.__enter__()
# The schema as validation asks for it, so that the cache knows it. To check it takes longer than most commands.
get_validator().check_schema(get_schema(model_type=MODEL_ECD))
