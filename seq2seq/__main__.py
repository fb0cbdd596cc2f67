"""The command `seq2seq`, also as `python -m seq2seq`."""

import contextlib
import gc
import os
import sys
from typing import NoReturn

from seq2seq.commands.main import main


def program() -> NoReturn:
    """Run `main` in a process that starts and ends quickly.

    Importing torch creates a million objects that stay. The garbage collector would search them again and again: 0.2 s
    (training and search create no cycles). `os._exit` skips the teardown of torch, 0.3 s. It also skips
    whatever else runs at exit, such as a profiler's report: to profile a command, call `seq2seq.commands.main.main`.
    """
    gc.set_threshold(100_000)
    code = main()
    with contextlib.suppress(OSError, AttributeError):  # the reader has gone, or there is no standard output
        sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    program()
