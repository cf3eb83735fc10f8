"""Measurements a user can repeat: the cost of our loop, step, input, checkpoints and start-up."""
