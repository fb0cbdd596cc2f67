"""The command `seq2seq`: which commands there are, how one is run, and how it ends.

A command is a module with `HELP`, `add_options` and `run`, and one entry in `COMMANDS`. Its docstring is the text of
`seq2seq COMMAND --help`. It imports torch and whatever needs it inside `run`, so that `--help` answers at once.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Protocol

from seq2seq.commands import align, attention, bench, check, compare, evaluate, plot, score, selftest, train, translate
from seq2seq.commands.console import DISK_ERRORS, MAKE_ROOM, is_first_process
from seq2seq.errors import UserError
from seq2seq.fast.allocator import keep_freed_memory


class Command(Protocol):
    """A module that holds one command."""

    __name__: str
    HELP: str  # one line in the list of commands

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments and options of the command."""

    def run(self, args: argparse.Namespace) -> None:
        """Run the command."""


COMMANDS: list[Command] = [train, evaluate, translate, score, attention, align, plot, compare, check, bench, selftest]
FIRST_SPEAKS = 10  # seconds that the other processes of a training wait before they print an error
HOW_TO_CONTINUE = {train: "; --resume goes on from there", compare: "; the same command goes on from there"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    The code is 0 after success, 2 after a user's mistake (which is explained in one line on standard error), and 128
    plus the number of the signal after a signal.
    """
    args = parse(argv)
    keep_freed_memory()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # translations are UTF-8 in every locale
    try:
        args.command.run(args)
        sys.stdout.flush()
        return 0
    except UserError as error:
        # torchrun ends all processes when one ends with an error: let the first one print it before that
        if not is_first_process():
            time.sleep(FIRST_SPEAKS)
        print(f"seq2seq: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as after `| head`
        _discard_output()
        return 0
    except OSError as error:
        # a full or broken disk is the user's to mend; anything else is our fault
        if error.errno not in DISK_ERRORS:
            raise
        place = error.filename or "standard output"
        print(f"seq2seq: error: {place}: cannot be written: {error.strerror}; {MAKE_ROOM}", file=sys.stderr)
        if not error.filename:
            _discard_output()
        return 2
    except KeyboardInterrupt as stop:
        # a training raises `Stopped`, which says what was saved
        where = f" {stop.where}" if hasattr(stop, "where") else ""
        _print_once(f"\nseq2seq: stopped{where}{HOW_TO_CONTINUE.get(args.command, '')}")
        return getattr(stop, "exit_code", 130)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands and their options."""
    parser = argparse.ArgumentParser(
        prog="seq2seq",
        description="Train an attention-based translator from parallel text, measure it and use it.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, indent_increment=1),
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        subparser = subparsers.add_parser(name, help=command.HELP, description=command.__doc__)
        subparser.set_defaults(command=command)
        command.add_options(subparser)
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; `section.key=value` may stand after options too, which argparse alone does not allow."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    unknown = [word for word in rest if word.startswith("-") or "=" not in word or "overrides" not in args]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return args


def _print_once(message: str) -> None:
    """Print a message on standard error; under torchrun only the first process does."""
    if is_first_process():
        print(message, file=sys.stderr)


def _discard_output() -> None:
    """Send what is still to be printed nowhere; otherwise Python tries to print it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
