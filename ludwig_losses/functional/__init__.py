"""The mathematics of the losses: functions of tensors that need nothing but torch.

Losses that are sums over elements come back unreduced; Dice, Lovász and NT-Xent are scalars by definition.
"""

from ludwig_losses.functional.amounts import log_link_mean, poisson_deviance, poisson_nll_loss, tweedie_loss
from ludwig_losses.functional.asymmetric import asymmetric_loss
from ludwig_losses.functional.bi_tempered import bi_tempered_logistic_loss, tempered_softmax
from ludwig_losses.functional.corn import corn_loss, corn_probabilities, corn_rank
from ludwig_losses.functional.dice import dice_loss
from ludwig_losses.functional.fenchel_young import entmax15_loss, entmax_loss, sparsemax_loss
from ludwig_losses.functional.focal import sigmoid_focal_loss, softmax_focal_loss
from ludwig_losses.functional.gaussian import gaussian_nll_loss, mean_and_std
from ludwig_losses.functional.generalized_cross_entropy import generalized_cross_entropy_loss
from ludwig_losses.functional.log_cosh import log_cosh_loss
from ludwig_losses.functional.logit_adjusted import logit_adjusted_loss, sigmoid_logit_adjusted_loss
from ludwig_losses.functional.lovasz import lovasz_softmax_loss
from ludwig_losses.functional.nt_xent import nt_xent_loss
from ludwig_losses.functional.one_class import (
    deep_sad_loss,
    deep_svdd_loss,
    drocc_adversary,
    drocc_loss,
    initial_center,
    squared_distance,
)
from ludwig_losses.functional.open_set import entropic_open_set_loss, known_score, known_softmax, objectosphere_loss
from ludwig_losses.functional.poly import poly_loss, sigmoid_poly_loss
from ludwig_losses.functional.projections import entmax, entmax15, sparsemax
from ludwig_losses.functional.quantile import conformal_offset, conformal_rank, ordered_quantiles, quantile_loss
from ludwig_losses.functional.top_k import top_k_mean

__all__ = [
    "asymmetric_loss",
    "bi_tempered_logistic_loss",
    "conformal_offset",
    "conformal_rank",
    "corn_loss",
    "corn_probabilities",
    "corn_rank",
    "deep_sad_loss",
    "deep_svdd_loss",
    "dice_loss",
    "drocc_adversary",
    "drocc_loss",
    "entmax",
    "entmax15",
    "entmax15_loss",
    "entmax_loss",
    "entropic_open_set_loss",
    "gaussian_nll_loss",
    "generalized_cross_entropy_loss",
    "initial_center",
    "known_score",
    "known_softmax",
    "log_cosh_loss",
    "log_link_mean",
    "logit_adjusted_loss",
    "lovasz_softmax_loss",
    "mean_and_std",
    "nt_xent_loss",
    "objectosphere_loss",
    "ordered_quantiles",
    "poisson_deviance",
    "poisson_nll_loss",
    "poly_loss",
    "quantile_loss",
    "sigmoid_focal_loss",
    "sigmoid_logit_adjusted_loss",
    "sigmoid_poly_loss",
    "softmax_focal_loss",
    "sparsemax",
    "sparsemax_loss",
    "squared_distance",
    "tempered_softmax",
    "top_k_mean",
    "tweedie_loss",
]
