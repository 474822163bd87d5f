"""The one exception of this package."""


class BadCheckpoint(ValueError):  # noqa: N818
    """A checkpoint cannot be used; the text says which file, why, and what to do."""
