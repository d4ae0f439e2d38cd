"""The exceptions that a command ends with in one sentence, and the exit status of each."""

STOPPED = 75
"""Exit status of a run that was asked to stop and can go on: EX_TEMPFAIL of sysexits.h, "try again later"."""


class UserError(Exception):
    """A mistake the user can mend: its message is one sentence saying what, where and what to do.

    The command lines print it without a traceback and end with status 1; libraries let it pass.
    """


class Stopped(Exception):  # noqa: N818 - it was asked for
    """A run did what it was asked: it kept what it has done and stopped; the same command goes on from there.

    The message says so in one sentence; the command line prints it and ends with status STOPPED.
    """
