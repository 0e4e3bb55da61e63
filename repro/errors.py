"""The one exception a person is meant to read."""


class ReproError(Exception):
    """A problem a person can solve.

    Its message is one sentence that says what to do. The command line prints it without a traceback and exits with 2.
    """


class DoesNotFit(ReproError):
    """A run that memory is too short for; others may go on."""
