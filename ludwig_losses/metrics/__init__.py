"""Metrics of models, which mean the same for every training loss.

``catalogue`` says what each metric is, and ``functional`` computes it, both without Ludwig; the comparison of losses
uses them on held-out rows. ``reported`` has the metrics that Ludwig reports beside the loss.
"""
