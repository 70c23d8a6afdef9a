from __future__ import annotations

import numpy as np
import pytest

from ludwig_losses.parameters import (
    Choice,
    Classes,
    Coefficients,
    Count,
    Fault,
    Flag,
    Index,
    Number,
    Numbers,
    OptionalNumber,
    PerClass,
    Terms,
    shown,
)

NUMBER = Number(default=1.0, description="", minimum=0, maximum=2)
ABOVE = Number(default=1.0, description="", above=0)
PER_CLASS = PerClass(default=None, description="", minimum=0, maximum=1)
ALPHA = PerClass(default=None, description="", minimum=0, maximum=1, single=True)
WEIGHTS = PerClass(default=None, description="", minimum=0, by_frequency=("balanced", "effective_number"))
OPTIONAL = OptionalNumber(default=None, description="", above=0, maximum=1)
NUMBERS = Numbers(default=1.0, description="", minimum=-1)
SERIES = Coefficients(default=1.0, description="", minimum=-1)
WEIGHED = PerClass(default=None, description="", minimum=0, weights=True)
CLASSES = Classes(default=None, description="")
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
        (
            SERIES,
            [1, -1, [-1, -0.5], (-1, -0.5, -1 / 3, 5)],
            [-1.1, [], [1, -0.51], [0, 0, -0.34], [1, "x"], None, [[1]]],
        ),
        (WEIGHED, [None, [0, 1], {"a": 0, "b": 1e-9}], [[0, 0], (0.0,), {"a": 0}, [-1, 0]]),
        (CLASSES, [None, "a", True, 0, ["a", True], [0, 2]], [["nine", 2], [], -1, 1.5, [["a"]]]),
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
        (SERIES, "a number >= -1, or a list whose j-th number is >= -1 / j"),
        (
            WEIGHED,
            "null, a list or a dict by class name with a number >= 0 for every class, not all of them 0",
        ),
        (CHOICE, "one of a, b"),
        (INDEX, "a whole number >= 0, or null"),
        (COUNT, "a whole number >= 1, or null"),
        (FLAG, "true or false"),
        (TERMS, "a list of losses, each a mapping with its `type` and parameters"),
    ],
)
def test_parameters_say_what_they_allow(parameter, text):
    assert parameter.allowed == text


@pytest.mark.parametrize(
    ("parameter", "value", "fault"),
    [
        (NUMBER, 3, Fault(3, "a number in [0, 2]")),
        (NUMBER, 10**400, Fault(10**400, "a number in [0, 2]")),
        (NUMBERS, [1, -2], Fault(-2, "a number >= -1", "[1]")),
        (NUMBERS, [], Fault([], "a number >= -1, or a list of such numbers")),
        (SERIES, [1, -1], Fault(-1, "a number >= -0.5", "[1]")),
        (SERIES, -2, Fault(-2, "a number >= -1, or a list whose j-th number is >= -1 / j")),
        (WEIGHED, [0, 0], Fault([0, 0], "a number > 0 for at least one class: else there is nothing to learn")),
        (WEIGHED, [-1], Fault([-1], WEIGHED.allowed)),
        (
            CLASSES,
            ["nine", 2],
            Fault(
                ["nine", 2],
                "names or indices, which cannot be mixed: put quotes around a name that looks like a number",
            ),
        ),
        (NUMBER, 1, None),
        (SERIES, [1, -0.5], None),
    ],
)
def test_a_fault_names_the_entry_and_what_is_expected(parameter, value, fault):
    assert parameter.fault(value) == fault


@pytest.mark.parametrize(
    "value", [10**400, 10**5000, -(10**400), float("nan"), float("inf"), np.float64("nan")], ids=range(6)
)
@pytest.mark.parametrize(
    "parameter", [NUMBER, ABOVE, PER_CLASS, ALPHA, WEIGHTS, OPTIONAL, NUMBERS, SERIES, WEIGHED, CHOICE, FLAG]
)
def test_numbers_that_are_none_are_refused_in_one_short_sentence(parameter, value):
    for written in (value, [value], {"a": value}):
        fault = parameter.fault(written)
        assert fault is not None and len(str(fault)) < 400


def test_long_values_are_shown_in_part():
    assert shown([1, "a"]) == "[1, 'a']"
    assert shown(10**400) == "1" + "0" * 99 + "..." + "0" * 20
    assert shown(10**5000) == "a very large number"
