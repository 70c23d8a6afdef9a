"""Sorting errors as integers, with one bit of what they belong to, since integers are sorted by radix.

**What.** Errors are floating-point numbers >= 0, each of a pixel that is foreground of a class or is not. They become
integers that have the same order, and carry the foreground along::

    error 0.75, foreground                 float32:  0 | 01111110 | 10000000000000000000000
                                                     sign  exponent  mantissa
    shifted left by one                              01111110 10000000000000000000000 | 0
    with the foreground in the bit that is free      01111110 10000000000000000000000 | 1

A larger exponent is a larger number, and of equal exponents the one with the larger mantissa: read as integers, the
bits of numbers >= 0 have the order of the numbers. The sign is always 0, so nothing is lost by shifting it out. After
the sort, ``key >> 1`` is the error again, and ``key & 1`` says whether it is foreground: nothing has to be looked up.

**Why.** torch and NumPy sort integers by radix, which reads each digit once, and floating-point numbers by comparisons,
which a CPU mispredicts half of the time. On one core of a CPU, in microseconds:

    ========= ======= ======== ===============
    numbers   float32 the keys half by half
    ========= ======= ======== ===============
    4,096          53       46              42
    16,384       1076      666             165
    32,768       2339      230             328
    1,048,576  105408    24015           40396
    ========= ======= ======== ===============

torch takes radix from 2**15 numbers on. Below that, NumPy does for integers of 16 bits, so a key of 32 bits is sorted
by its lower half first and then, stably, by its upper half: equal upper halves stay in the order of their lower halves.

**Example.** Two keys, 0x0002_0009 and 0x0001_000A, are in the order 9 < A after the first sort and 1 < 2 after the
second one, which is that of the whole keys.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ludwig_losses.functional._elementwise import bits_as
from ludwig_losses.functional._numerics import as_uint8

# How many numbers take less time half by half.
_BY_HALVES = range(2**12, 2**15)


def sort_errors(error: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sort errors ``[N]`` >= 0 on a CPU in ascending order, and with them the foreground; return both and the order."""
    keys, order = _sort(error_keys(error).bitwise_or_(as_uint8(foreground)))
    foreground = (keys & 1).bool()
    return errors_of_keys(keys, error.dtype), foreground, order


def error_keys(error: Tensor) -> Tensor:
    """Return integers >= 0 in the order of errors >= 0, with a last bit that is free."""
    return bits_as(error, torch.int32 if error.dtype == torch.float32 else torch.int64) << 1


def errors_of_keys(keys: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the errors in the memory of their keys, whose last bit is lost."""
    return bits_as(keys.bitwise_right_shift_(1), dtype)


def _sort(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return keys >= 0 in ascending order, and the order."""
    if keys.dtype != torch.int32 or len(keys) not in _BY_HALVES:
        return keys.sort()
    numbers = keys.numpy()
    order = numbers.astype(np.uint16).argsort(kind="stable")
    order = order[(numbers >> 16).astype(np.uint16)[order].argsort(kind="stable")]
    return torch.from_numpy(numbers[order]), torch.from_numpy(order)
