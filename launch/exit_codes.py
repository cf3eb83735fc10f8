"""The exit codes of this program, by which those that start it decide whether to start it again."""

DONE = 0
REFUSED = 1
"""Bad input, or an end with a message: starting again does not help."""
USAGE = 2
UNEXPECTED = 70
"""An exception that is no user's mistake; also that a peer died."""
STOPPED = 75
"""Stopped by a signal, and saved: it can be resumed."""
HUNG = 76
"""Taken as hung by the watchdog: it can be resumed."""
