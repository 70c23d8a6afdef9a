"""How well the single classes of tokens are predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ludwig.constants import PREDICTIONS
from ludwig.utils.strings_utils import SpecialSymbol
from torch import Tensor

from ludwig_losses.declare.config import LossConfig
from ludwig_losses.declare.schema import SEQUENCE, TEXT
from ludwig_losses.metrics.functional.token_classes import token_class_counts, token_class_values
from ludwig_losses.metrics.reported.base import FeatureMetric


class TokenClassMetric(FeatureMetric):
    """``token_macro_f1`` and ``token_micro_f1``, and ``token_f1_O``, ``token_f1_B-LOC``, ... of the single classes.

    See :func:`token_class_values`. Padding, and tokens of the classes that the loss ignores, are ignored; the classes
    are those of the vocabulary without symbols and ignored ones. Without any the metrics are 0.
    """

    features = (SEQUENCE, TEXT)
    tensor = PREDICTIONS
    NAMES = ("token_macro_f1", "token_micro_f1")

    def __init__(
        self,
        num_classes: int,
        ignored: tuple[int, ...],
        symbols: tuple[int, ...],
        names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.names = names
        self.num_classes, self.ignored, self.excluded = num_classes, ignored, ignored + symbols
        self.add_state("counts", default=torch.zeros(3, num_classes, dtype=torch.long), dist_reduce_fx="sum")

    @classmethod
    def suits(cls, feature: Any) -> bool:
        """Features with a loss of Ludwig's own report what they do without this package."""
        return isinstance(feature.loss, LossConfig) and hasattr(feature.decoder_obj, "vocab_size")

    @classmethod
    def for_feature(cls, feature: Any) -> TokenClassMetric:
        padding, of_ludwig = getattr(feature.loss, "padding_index", None), SpecialSymbol.PADDING.value
        padding = of_ludwig if padding is None else padding
        # A vocabulary of Ludwig's begins with its symbols; other tokenizers place their padding elsewhere.
        symbols = tuple(symbol.value for symbol in SpecialSymbol) if padding == of_ludwig else ()
        ignored = padding, *feature.loss.ignored_classes
        return cls(feature.decoder_obj.vocab_size, ignored, symbols, feature.loss.names_of_classes)

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.counts += token_class_counts(preds, target, self.num_classes, self.ignored)

    def compute(self) -> dict[str, Tensor]:
        values = token_class_values(self.counts, self.excluded, self.names)
        return values or dict.fromkeys(self.NAMES, torch.zeros((), device=self.counts.device))
