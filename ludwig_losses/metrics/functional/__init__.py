"""The computation of each metric of the catalogue, on tensors and arrays.

What some data does not define is left out: it is no number, and no mistake.
"""

Values = dict[str, float]
