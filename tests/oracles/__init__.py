"""Slow, obvious transcriptions of the definitions, in the dtype of their input (give them float64).

Each has the name and the arguments of the function in ``ludwig_losses.functional`` that it judges, shares no code with
it, and is differentiable by autograd.
"""

from oracles.bi_tempered import bi_tempered_logistic_loss, tempered_softmax
from oracles.corn import corn_loss, corn_probabilities, corn_rank
from oracles.dice import dice_loss, dice_scores
from oracles.fenchel_young import (
    entmax,
    entmax15,
    entmax15_loss,
    entmax_loss,
    sparsemax,
    sparsemax_loss,
)
from oracles.focal import sigmoid_focal_loss, softmax_focal_loss
from oracles.lovasz import jaccard_loss, lovasz_softmax_loss
from oracles.nt_xent import nt_xent_loss
from oracles.one_class import (
    deep_sad_loss,
    deep_svdd_loss,
    drocc_adversary,
    drocc_loss,
    initial_center,
    squared_distance,
)
from oracles.open_set import entropic_open_set_loss, known_softmax, objectosphere_loss
from oracles.poly import poly_loss

__all__ = [
    "bi_tempered_logistic_loss",
    "corn_loss",
    "corn_probabilities",
    "corn_rank",
    "deep_sad_loss",
    "deep_svdd_loss",
    "dice_loss",
    "dice_scores",
    "drocc_adversary",
    "drocc_loss",
    "entmax",
    "entmax15",
    "entmax15_loss",
    "entmax_loss",
    "entropic_open_set_loss",
    "initial_center",
    "jaccard_loss",
    "known_softmax",
    "lovasz_softmax_loss",
    "nt_xent_loss",
    "objectosphere_loss",
    "poly_loss",
    "sigmoid_focal_loss",
    "softmax_focal_loss",
    "sparsemax",
    "sparsemax_loss",
    "squared_distance",
    "tempered_softmax",
]
