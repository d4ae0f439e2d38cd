"""The one exception that means "you can mend this"."""


class UserError(Exception):
    """A mistake the user can mend: its message is one sentence saying what, where and what to do.

    The command lines print it without a traceback and end with status 1; libraries let it pass.
    """
