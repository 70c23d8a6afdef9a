"""The losses: one declaration each. Importing this package registers all of them with Ludwig."""

from ludwig_losses.losses.bi_tempered import TemperedSoftmaxCrossEntropy, TemperedSoftmaxCrossEntropyConfig
from ludwig_losses.losses.compound import CompoundLoss, CompoundLossConfig
from ludwig_losses.losses.corn import CornLoss, CornLossConfig
from ludwig_losses.losses.dice import DiceLoss, DiceLossConfig
from ludwig_losses.losses.fenchel_young import (
    Entmax15Loss,
    Entmax15LossConfig,
    EntmaxLoss,
    EntmaxLossConfig,
    SparsemaxLoss,
    SparsemaxLossConfig,
)
from ludwig_losses.losses.focal import FocalLoss, FocalLossConfig
from ludwig_losses.losses.lovasz_softmax import LovaszSoftmaxLoss, LovaszSoftmaxLossConfig
from ludwig_losses.losses.nt_xent import NTXentLoss, NTXentLossConfig
from ludwig_losses.losses.one_class import (
    DeepSADLoss,
    DeepSADLossConfig,
    DeepSVDDLoss,
    DeepSVDDLossConfig,
    DROCCLoss,
    DROCCLossConfig,
)
from ludwig_losses.losses.open_set import (
    EntropicOpenSetLoss,
    EntropicOpenSetLossConfig,
    ObjectosphereLoss,
    ObjectosphereLossConfig,
)
from ludwig_losses.losses.poly import PolyLoss, PolyLossConfig

__all__ = [
    "CompoundLoss",
    "CompoundLossConfig",
    "CornLoss",
    "CornLossConfig",
    "DROCCLoss",
    "DROCCLossConfig",
    "DeepSADLoss",
    "DeepSADLossConfig",
    "DeepSVDDLoss",
    "DeepSVDDLossConfig",
    "DiceLoss",
    "DiceLossConfig",
    "Entmax15Loss",
    "Entmax15LossConfig",
    "EntmaxLoss",
    "EntmaxLossConfig",
    "EntropicOpenSetLoss",
    "EntropicOpenSetLossConfig",
    "FocalLoss",
    "FocalLossConfig",
    "LovaszSoftmaxLoss",
    "LovaszSoftmaxLossConfig",
    "NTXentLoss",
    "NTXentLossConfig",
    "ObjectosphereLoss",
    "ObjectosphereLossConfig",
    "PolyLoss",
    "PolyLossConfig",
    "SparsemaxLoss",
    "SparsemaxLossConfig",
    "TemperedSoftmaxCrossEntropy",
    "TemperedSoftmaxCrossEntropyConfig",
]
