"""What a family says beside its oracles, so that the tests of every function and of every declared loss reach its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from oracles._hostile import Subject
from oracles._inputs import Inputs, Options, Shape


@dataclass(frozen=True, kw_only=True)
class Function:
    """A public function of ``ludwig_losses.functional``.

    Args:
        cases: options of a loss, each with the shapes of logits and the targets that it is compared on; the first is the
            one that stands for the loss.
        hostile: how to draw hostile inputs and each option; ``None`` where ``not_drawn`` says why.
        not_drawn: why the function is not compared with its oracle on hostile inputs.
        wrong_shapes: shapes of logits and of a target that do not go together.
        out_of_range: options with a value that is not allowed, and a pattern of what the error says.
        no_number: options whose value should be a number and is none.
        ways: options that lead to code of its own, for a loss that ignores classes and smooths labels.
        look_ups: options and shapes of logits with which classes are looked up by code of its own.
        labels: calls of a loss whose labels are compared, not looked up, and so may be of any type: by the name of the
            argument, with labels ``[4, 2]``.
        of_distances: whether the first argument is at least 0.
        differentiable_once: whether a second derivative is refused.
    """

    cases: tuple[Inputs, ...] = ()
    hostile: Subject | None = None
    not_drawn: str = ""
    wrong_shapes: tuple[tuple[Shape, Shape], ...] = ()
    out_of_range: tuple[tuple[Options, str], ...] = ()
    no_number: tuple[Options, ...] = ()
    ways: tuple[Options, ...] = ({},)
    look_ups: tuple[tuple[Options, Shape], ...] = ()
    labels: Mapping[str, Callable[[Callable[..., Tensor], Tensor], Tensor]] = field(default_factory=dict)
    of_distances: bool = False
    differentiable_once: bool = False


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A loss that ``ludwig_losses.losses`` declares, by its name in configurations.

    Args:
        options: parameters without which it has little to show, by feature type: it is trained with them.
        by_command_line: the feature types that are trained, resumed and evaluated by the command line, ``None`` for all
            of them; on the others a training through the API will do.
        may_grow: whether the loss may be larger at the end of a short training.
        needs_the_user: whether it is nothing without what only the user knows: `compare` does not choose it by itself.
        of_whole_batch: whether it compares the rows of a batch, or takes it as one image: no mean of rows or elements.
        changes: for each parameter a value that changes the loss; a loss of category features has the classes a to d, a
            loss of masks three.
        beside: what a parameter needs beside it to change anything.
        of_predictions: parameters, each with a value, that change what is predicted, not the loss.
        predicts: feature types and parameters, with classes as indices, of which each set leads to predictions that
            Ludwig does not make; none where the loss predicts as Ludwig does.
        validates_by: the metric that chooses the best model where the configuration says nothing: feature type,
            parameters, name of the metric.
        output: what an output feature with the loss has beside it.
    """

    options: Mapping[str, Options] = field(default_factory=dict)
    by_command_line: tuple[str, ...] | None = None
    may_grow: bool = False
    needs_the_user: bool = False
    of_whole_batch: bool = False
    changes: Options = field(default_factory=dict)
    beside: Mapping[str, Options] = field(default_factory=dict)
    of_predictions: Options = field(default_factory=dict)
    predicts: tuple[tuple[str, dict[str, Any]], ...] = ()
    validates_by: tuple[tuple[str, dict[str, Any], str], ...] = ()
    output: Mapping[str, Any] = field(default_factory=dict)


# Out of range for every loss that smooths labels.
LABEL_SMOOTHING = tuple(
    ({"label_smoothing": value}, rf"label_smoothing must be a number in \[0, 1\]; got {value}") for value in (-0.1, 1.5)
)
# The weights of classes of every loss of category features, for four classes.
CLASS_WEIGHTS = {"class_weights": [1, 2, 3, 4], "effective_number_beta": 0.5}
BESIDE_CLASS_WEIGHTS = {"effective_number_beta": {"class_weights": "effective_number"}}
