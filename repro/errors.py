"""The one exception a person is meant to read."""


class ReproError(Exception):
    """A problem a person can solve.

    Its message is one sentence that says what to do. The command line prints it without a traceback and exits with 2.
    """


class Unfinished(ReproError):
    """The time budget is spent and runs are left: the same command goes on. The command line exits with 75, which tells a
    script to start it again."""


class DoesNotFit(ReproError):
    """Runs that memory is too short for, a sentence each; others may go on."""

    def __init__(self, *sentences: str):
        super().__init__(" ".join(dict.fromkeys(sentences)))
