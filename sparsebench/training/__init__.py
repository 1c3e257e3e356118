"""Training: the reference trainer, the contract that every trainer keeps, and what a training is made of."""
