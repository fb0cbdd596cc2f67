"""The one exception that a user's mistake raises."""


class UserError(Exception):
    """Bad input: a key, a file or a value that the user can mend.

    The message is what the user reads, without a traceback: it names the key or the file and line, the value that
    stands there, and what to write instead. The command line prints it and leaves with exit code 2.
    """
