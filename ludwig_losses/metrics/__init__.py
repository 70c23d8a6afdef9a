"""Metrics that Ludwig reports beside the loss, for a type of features or for those trained with a certain loss."""
