"""Metrics that belong to a loss: Ludwig reports them for the features that are trained with it."""
