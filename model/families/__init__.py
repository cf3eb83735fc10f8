"""The networks: each family is a config, which imports no jax, and a module that it builds."""
