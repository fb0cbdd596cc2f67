"""The exception for a user's mistake, and messages that several modules share."""

import shlex
from pathlib import Path


class UserError(Exception):
    """A mistake in a key, a file or a value, which the user can mend.

    The user reads the message without a traceback: it names the key or the file and line, the value found there, and
    the fix. The command line prints it and ends with exit code 2.
    """


def unwritten(path: Path, reason: str, run: Path) -> UserError:
    """Return the error of a training that cannot write a file into its run folder, for example on a full disk."""
    fix = f"what was saved before is whole: mend that, and go on with `{resume_command(run)}`"
    return UserError(f"{path}: cannot be written: {reason}; {fix}")


def resume_command(run: Path) -> str:
    """Return the command that continues the training of a run."""
    return shlex.join(["seq2seq", "train", str(run / "config.yaml"), "--run", str(run), "--resume"])
