"""One model on several ranks: under torchrun, or by the workers of Ray."""
