"""How good models are, by measures that mean the same whatever loss they were trained with.

``catalogue`` says what each metric is, and ``functional`` computes it, both without Ludwig. The other modules are the
metrics that Ludwig reports beside the loss, for a type of features or for those trained with a certain loss; the
comparison of losses measures held-out rows with the same functions.
"""
