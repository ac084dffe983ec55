"""Training by Section 3.1: the loop, the learning rate, checkpoints, interruption."""
