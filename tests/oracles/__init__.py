"""Slow, obvious transcriptions of the definitions, in the dtype of their input (give them float64).

Each has the name and the arguments of the function in ``ludwig_losses.functional`` that it judges, shares no code with
it, and is differentiable by autograd.
"""

from oracles.dice import dice_loss
from oracles.fenchel_young import entmax15, entmax15_loss, sparsemax, sparsemax_loss
from oracles.focal import sigmoid_focal_loss, softmax_focal_loss
from oracles.lovasz import jaccard_loss, lovasz_softmax_loss
from oracles.nt_xent import nt_xent_loss
from oracles.poly import poly_loss

__all__ = [
    "dice_loss",
    "entmax15",
    "entmax15_loss",
    "jaccard_loss",
    "lovasz_softmax_loss",
    "nt_xent_loss",
    "poly_loss",
    "sigmoid_focal_loss",
    "softmax_focal_loss",
    "sparsemax",
    "sparsemax_loss",
]
