"""How a command says that it failed."""


class Failure(Exception):  # noqa: N818
    """A command failed; the text is the sentence for stderr.

    Attributes:
        code: The exit code: 1; 2 if the command was used wrongly; 130 after Ctrl-C.
    """

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code
