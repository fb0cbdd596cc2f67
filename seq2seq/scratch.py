"""Temporary folders and processes that do not outlive this process, even if it is killed (kill -9)."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seq2seq.errors import UserError

END_GROUP = """
kill -TERM -- "-$0" || exit
for second in 1 2 3 4 5 6 7 8 9 10; do sleep 1; kill -0 -- "-$0" || exit; done
kill -KILL -- "-$0"
"""


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Make a temporary folder, and delete it when the block or the process ends.

    Raises:
        UserError: no temporary folder can be made.
    """
    try:
        folder = tempfile.mkdtemp(prefix=prefix)
    except OSError as error:
        fix = "set TMPDIR to a folder that can be written to"
        raise UserError(f"no temporary folder: {error.strerror}; {fix}") from None
    with at_end('rm -rf -- "$0"', folder):
        yield Path(folder)


@contextmanager
def at_end(script: str, argument: str) -> Iterator[None]:
    """Run a shell script when the block or the process ends, however it ends; `$0` is the argument.

    A shell waits for that: it reads a pipe, which the system closes when this process has gone. It has a session of its
    own, because signals of a terminal go to all processes of a session.
    """
    command, null = ["sh", "-c", f"read -r _\n{script}", argument], subprocess.DEVNULL
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True):
        yield
