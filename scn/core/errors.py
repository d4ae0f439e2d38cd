"""Exceptions that end a command with one sentence, and the exit status of a run that was stopped."""

STOPPED = 75
"""Exit status of a run that was asked to stop and can go on: EX_TEMPFAIL of sysexits.h, "try again later"."""

_SHOWN = 60


def short(given: str) -> str:
    """What somebody gave, as a message shows it: its first 60 characters."""
    return given if len(given) <= _SHOWN else f"{given[:_SHOWN]}..."


class UserError(Exception):
    """A mistake that the user can mend: its message is one sentence that says what, where and what to do.

    The command lines print the message without a traceback and end with status 1; in a program that imports the
    project the exception reaches the caller.
    """


def sentence(error: UserError | OSError) -> str:
    """What a command line prints of an error: its message, or which file can't be used, and why."""
    if isinstance(error, UserError):
        return str(error)
    file = error.filename or "A file"
    return f"{file} can't be used ({error.strerror or error}): check the path, its permissions and the disk."


class DiskFullError(UserError):
    """There is no room for a file, nor will there be for the next one."""


class Stopped(Exception):  # noqa: N818 - it was asked for
    """A run stopped because it was asked to; its progress is kept, and the same command goes on from there.

    The message says so in one sentence; the command line prints it and ends with status STOPPED (75).
    """
