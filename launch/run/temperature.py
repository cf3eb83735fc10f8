"""The temperature of drawing. Imports nothing, so that `--help` stays fast."""

TEMPERATURE = 0.8
"""Where nobody says another."""
