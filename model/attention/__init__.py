"""Attention that any family can use: masks, the kernels that serve them, and the layer."""
