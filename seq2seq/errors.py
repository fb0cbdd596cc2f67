"""The one exception that a user's mistake raises, and what many of its messages say."""

import shlex
from pathlib import Path


class UserError(Exception):
    """Bad input: a key, a file or a value that the user can mend.

    The message is what the user reads, without a traceback: it names the key or the file and line, the value that
    stands there, and what to write instead. The command line prints it and leaves with exit code 2.
    """


def unwritten(path: Path, reason: str, run: Path) -> UserError:
    """The error where a training cannot write a file, as on a full disk, into its run folder."""
    fix = f"what was saved before is whole: mend that, and go on with `{resume_command(run)}`"
    return UserError(f"{path}: cannot be written: {reason}; {fix}")


def resume_command(run: Path) -> str:
    """What goes on with the training of a run folder."""
    return shlex.join(["seq2seq", "train", str(run / "config.yaml"), "--run", str(run), "--resume"])
