"""The one exception a person is meant to read."""


class ReproError(Exception):
    """A problem a person can solve.

    Its message is one sentence that says what to do. The command line prints it without a traceback and exits with 2.
    """
