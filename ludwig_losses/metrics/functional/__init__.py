"""The computation of each metric of the catalogue, on tensors and arrays.

A metric that the data does not define is missing from the result: neither NaN nor an error.
"""

Values = dict[str, float]
