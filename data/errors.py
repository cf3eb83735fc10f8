"""The exception of a user's mistake, which every room raises."""


class UserError(ValueError):
    """A mistake that the user can mend: the message has the field or file, both numbers, the
    reason and what to try. Any other exception counts as a bug, or a fault of the machine."""
