"""`python -m seq2seq` is the command `seq2seq`."""

import contextlib
import gc
import os
import sys
from typing import NoReturn

from seq2seq.commands.main import main


def program() -> NoReturn:
    """`main` as a process that begins and ends quickly.

    Importing torch makes a million objects that stay; the garbage collector would look through them again and again,
    0.2 s long (training and search leave no cycles for it). Taking torch apart in the end would take 0.3 s; what else
    waits for an end, such as a profiler's report, does not come: profile `seq2seq.commands.main.main`.
    """
    gc.set_threshold(100_000)
    code = main()
    with contextlib.suppress(OSError, AttributeError):  # nobody reads it any more, or there never was one
        sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    program()
