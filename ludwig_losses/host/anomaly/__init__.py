"""The ``anomaly`` output feature: one for all versions of Ludwig, in place of the one that newer ones cannot train."""
