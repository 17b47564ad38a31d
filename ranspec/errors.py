"""The base of all errors that a user can mend."""


class RanspecError(Exception):
    """A mistake in what ranspec was given; the message says what it is and what would be right."""
