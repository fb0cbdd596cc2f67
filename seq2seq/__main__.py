"""`python -m seq2seq` is the command `seq2seq`."""

import os
import sys
from typing import NoReturn

from seq2seq.cli import main


def program() -> NoReturn:
    """`main` as a process, which ends as soon as its work has: taking torch's modules apart would take 0.3 s."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    program()
