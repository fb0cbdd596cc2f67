"""The command line `seq2seq`: the list of commands, how a command is run, and how it ends.

A command is a module with `HELP`, `run` and, if it has options, `add_options`, and one entry in `COMMANDS`. Its
docstring is the text of `seq2seq COMMAND --help`. It imports torch and whatever needs it inside `run`, so that `--help`
answers at once.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from io import TextIOWrapper

from seq2seq.commands import (
    align,
    attention,
    bench,
    check,
    compare,
    evaluate,
    plot,
    score,
    selftest,
    split,
    train,
    translate,
)
from seq2seq.commands.console import DISK_ERRORS, MAKE_ROOM, is_first_process
from seq2seq.errors import UserError
from seq2seq.fast.allocator import keep_freed_memory

COMMANDS = [split, train, evaluate, translate, score, attention, align, plot, compare, check, bench, selftest]
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
            time.sleep(10)
        print(f"seq2seq: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        # a closed pipe, as after `| head`, is no error; a full or broken disk is an error for the user to mend
        has_gone = isinstance(error, BrokenPipeError)
        if not has_gone and error.errno not in DISK_ERRORS:
            raise
        place = error.filename or "standard output"
        if not has_gone:
            print(f"seq2seq: error: {place}: cannot be written: {error.strerror}; {MAKE_ROOM}", file=sys.stderr)
        # discard the rest of the output; otherwise Python tries to print it once more at exit
        if not error.filename:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0 if has_gone else 2
    except KeyboardInterrupt as stop:
        # a training raises `Stopped`, which says what was saved
        where = f" {stop.where}" if hasattr(stop, "where") else ""
        if is_first_process():
            print(f"\nseq2seq: stopped{where}{HOW_TO_CONTINUE.get(args.command, '')}", file=sys.stderr)
        return getattr(stop, "exit_code", 130)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; `section.key=value` may stand after options too, which argparse alone does not allow."""
    # a parser for each command
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
        if hasattr(command, "add_options"):
            command.add_options(subparser)

    # what it does not know may be overrides of the config
    args, rest = parser.parse_known_args(argv)
    unknown = [word for word in rest if word.startswith("-") or "=" not in word or "overrides" not in args]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return args
