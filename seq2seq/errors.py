"""The exception for a user's mistake, and messages that several modules share."""

import errno
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

SIGPIPE = 13  # the number of the signal; Windows has no name for it

# control characters, line separators, overrides of the writing direction, and bytes that are not UTF-8 (surrogates)
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class UserError(Exception):
    """A mistake in a key, a file or a value, which the user can mend.

    The user reads the message without a traceback: it names the key or the file and line, the value found there, and
    the fix. The command line prints it and ends with exit code 2. It is one line, whatever a name in it holds.
    """

    def __init__(self, message: str):
        super().__init__(printable(message))


class OutputError(UserError):
    """A standard output that cannot be written: closed, full, or a pipe whose reader has gone (`exit_code` 141).

    Attributes:
        exit_code: the exit code of the command, 2 or 141. Shells show 141 for a program that a broken pipe ends.
    """

    def __init__(self, error: OSError):
        self.exit_code = 128 + SIGPIPE if isinstance(error, ConnectionError) else 2
        reason = "it is closed" if error.errno == errno.EBADF else error.strerror
        super().__init__(f"standard output: cannot be written: {reason}; make room, or write to another file")


def printable(line: str) -> str:
    """Return a line without characters that control a terminal: each is spelled out, such as `\\x1b` or `\\n`."""
    return UNPRINTABLE.sub(lambda found: _spell(found[0]), line)


def visible(text: str) -> str:
    """Return a text in which every character that one does not see is spelled out, except spaces: `seed\\xad`."""
    return "".join(c if c.isprintable() else _spell(c) for c in text)


def _spell(character: str) -> str:
    # Python reads a byte that is not UTF-8 as U+DC00 plus the byte
    byte = ord(character) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else repr(character)[1:-1]


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name that is most like this one in any case, or None if none is close."""
    import difflib

    folded = {other.lower(): other for other in allowed}
    close = difflib.get_close_matches(name.lower(), folded, n=1)
    return folded[close[0]] if close else None


def unwritten(path: Path, reason: str, run: Path) -> UserError:
    """Return the error of a training that cannot write a file into its run folder, for example on a full disk."""
    fix = f"what was saved before is whole: mend that, and go on with `{resume_command(run)}`"
    return UserError(f"{path}: cannot be written: {reason}; {fix}")


def resume_command(run: Path) -> str:
    """Return the command that continues the training of a run."""
    return shlex.join(["seq2seq", "train", str(run / "config.yaml"), "--run", str(run), "--resume"])
