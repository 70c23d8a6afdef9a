from __future__ import annotations

import numpy as np
import pytest

from ludwig_losses.parameters import Choice, Count, Flag, Index, Number, Numbers, OptionalNumber, PerClass, Terms

NUMBER = Number(default=1.0, description="", minimum=0, maximum=2)
ABOVE = Number(default=1.0, description="", above=0)
PER_CLASS = PerClass(default=None, description="", minimum=0, maximum=1)
ALPHA = PerClass(default=None, description="", minimum=0, maximum=1, single=True)
WEIGHTS = PerClass(default=None, description="", minimum=0, by_frequency=("balanced", "effective_number"))
OPTIONAL = OptionalNumber(default=None, description="", above=0, maximum=1)
NUMBERS = Numbers(default=1.0, description="", minimum=-1)
CHOICE = Choice(default="a", description="", options=("a", "b"))
INDEX = Index(default=None, description="")
COUNT = Count(default=None, description="")
FLAG = Flag(default=False, description="")
TERMS = Terms(description="")


@pytest.mark.parametrize(
    ("parameter", "right", "wrong"),
    [
        (
            NUMBER,
            [0, 2, 1.5, np.float32(1), np.int64(2)],
            [-0.1, 2.1, True, "1", None, [1], float("nan"), float("inf")],
        ),
        (ABOVE, [1e-300, 5], [0, -1, float("-inf")]),
        (PER_CLASS, [None, [0, 1], (0.5,), {"a": 1}], [0.5, [], {}, [2], ["a"], {"a": None}, [[1]], [float("nan")]]),
        (ALPHA, [None, 0.5, [0, 1], {"a": 1}], [2, [], {}, "0.5", True]),
        (WEIGHTS, [None, "balanced", "effective_number", [0, 1], {"a": 1}], ["Balanced", "", 1, [], {}]),
        (OPTIONAL, [None, 0.5, 1], [0, 1.1, "0.5", [0.5], True]),
        (NUMBERS, [1, -1, [1], (0.5, -1)], [-1.1, [], [-2], [None], None, "1", [[1]], [True]]),
        (CHOICE, ["a"], ["c", None, 1, ["a"]]),
        (INDEX, [None, 0, 7, np.int8(3)], [-1, 1.0, True, "1"]),
        (COUNT, [None, 1, 7, np.int8(3)], [0, -1, 1.0, True, "1"]),
        (FLAG, [True, False], [None, 0, 1, "true"]),
        (TERMS, [[{"type": "a"}], ({"type": "a"}, 2)], [None, [], {"type": "a"}, "a"]),
    ],
)
def test_parameters_accept_what_they_say(parameter, right, wrong):
    assert all(map(parameter.accepts, right))
    assert not any(map(parameter.accepts, wrong))


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        (NUMBER, "a number in [0, 2]"),
        (ABOVE, "a number > 0"),
        (Number(default=1.0, description=""), "a number"),
        (PER_CLASS, "null, a list or a dict by class name with a number in [0, 1] for every class"),
        (
            WEIGHTS,
            "null, balanced, effective_number, a list or a dict by class name with a number >= 0 for every class",
        ),
        (OPTIONAL, "a number in (0, 1], or null"),
        (NUMBERS, "a number >= -1, or a list of such numbers"),
        (CHOICE, "one of a, b"),
        (INDEX, "a whole number >= 0, or null"),
        (COUNT, "a whole number >= 1, or null"),
        (FLAG, "true or false"),
        (TERMS, "a list of losses, each a mapping with its `type` and parameters"),
    ],
)
def test_parameters_say_what_they_allow(parameter, text):
    assert parameter.allowed == text
