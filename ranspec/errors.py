"""The base of all errors that a user can mend."""


class RanspecError(Exception):
    """A mistake in what ranspec was given; the message says what it is and what would be right."""


def printable(text: str) -> str:
    """Escape what a terminal might act on, as names of files may hold."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )
