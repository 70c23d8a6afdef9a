"""How good models are, by measures that mean the same whatever loss they were trained with.

``catalogue`` says what each metric is, and ``functional`` computes it, both without Ludwig: so the comparison of losses
measures held-out rows. ``reported`` has the metrics that Ludwig reports beside the loss.
"""
