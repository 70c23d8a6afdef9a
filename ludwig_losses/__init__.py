"""Modern losses for Ludwig: write ``loss: {type: focal_loss}`` on an output feature and train.

Importing this package activates the losses; an installed package is activated in every Python process on its own,
as soon as that process imports Ludwig. Neither costs anything before Ludwig is imported.
"""

from ludwig_losses._startup import install

__version__ = "0.1.0"

install()
