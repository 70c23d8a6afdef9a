"""The model that a loss trains: its predictions, metrics and evaluation."""
