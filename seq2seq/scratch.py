"""Temporary folders and processes that do not outlive this process, even if it is killed (kill -9)."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seq2seq.errors import UserError

DELETE = 'rm -rf -- "$0"'
END_GROUP = """
kill -s TERM -- "-$0" || exit
for second in 1 2 3 4 5 6 7 8 9 10; do sleep 1; kill -s 0 -- "-$0" || break; done
kill -s KILL -- "-$0"
rm -rf -- "$1"
"""


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Make a temporary folder, and delete it when the block or this process ends.

    Raises:
        UserError: no temporary folder can be made.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    except OSError as error:
        fix = "set TMPDIR to a folder that can be written to"
        raise UserError(f"no temporary folder: {error.strerror}; {fix}") from None
    with made as folder, _at_end(DELETE, folder):
        yield Path(folder)


@contextmanager
def ended_with_us(process: subprocess.Popen[bytes], folder: Path) -> Iterator[None]:
    """End the group of a process, and delete a folder that it may still write to, if this process ends in the block.

    The process must be the first of its group (`start_new_session=True`), and have ended at the end of the block.
    """
    with _at_end(END_GROUP, str(process.pid), str(folder)):
        yield


@contextmanager
def _at_end(script: str, *arguments: str) -> Iterator[None]:
    """Run a shell script, with arguments from `$0` on, when the block or this process ends, however it ends.

    The shell waits at a pipe, which the system closes when this process has gone. It has a session of its own, because
    a terminal sends its signals to all processes of a session. Windows has no such shell: there the script never runs.
    """
    if os.name == "nt":
        yield
        return
    command, null = ["sh", "-c", f"read -r _\n{script}", *arguments], subprocess.DEVNULL
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True):
        yield
