"""The ``anomaly`` output feature: one for all hosts, in place of the one that newer Ludwigs have and cannot train."""
