"""The data of a loss: its classes, masks, pairs, batches, and what each rank gets of them."""
