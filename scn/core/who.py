"""Who runs this process."""

import getpass
import os


def user() -> str:
    """Returns the name of the user that this process runs as; the number where the system knows no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for this user
        return str(os.getuid())
