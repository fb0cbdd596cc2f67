"""The command line `seq2seq`: the list of commands, how a command is run, and how it ends.

A command is a module with `HELP`, `run` and, if it has options, `add_options`, and its name in `NAMES`. Its
docstring is the text of `seq2seq COMMAND --help`. It imports torch and whatever needs it inside `run`, so that `--help`
answers at once.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import chain, takewhile
from typing import NoReturn

from seq2seq import __version__
from seq2seq.commands.console import DISK_ERRORS, MAKE_ROOM, is_first_process, log_warnings
from seq2seq.errors import OutputError, UserError, nearest
from seq2seq.fast.allocator import keep_freed_memory
from seq2seq.streams import finish, say, tell, write

NAMES = (
    "split train evaluate translate serve score attention explain align plot compare tune average distill export check "
    "bench selftest completion"
)
COMMANDS = {name: import_module(f"seq2seq.commands.{name}") for name in NAMES.split()}
OUT_OF_MEMORY = (
    "out of memory; lower training.batch_tokens or the model's sizes in a training, --batch-size or --beam in a "
    "translation; what a training had saved is whole"
)
AGAIN = "the same command goes on from there"
HOW_TO_CONTINUE = {
    "train": "; --resume goes on from there",
    "compare": f"; {AGAIN}",
    "distill": f"; {AGAIN}",
    "tune": f"; with --space {AGAIN}",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    The code is 0 after success, 2 after a user's mistake or a failure of the system (which is explained in one line on
    standard error), 128 plus the number of the signal after a signal, and 141 if the reader of the output has gone.
    """
    name = ""
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
        name = args.command
        keep_freed_memory()
        os.environ.pop("MPLBACKEND", None)  # matplotlib refuses an unknown one; pictures in files need none
        with log_warnings():
            COMMANDS[name].run(args)
        finish()
        return 0
    except OutputError as error:
        if error.exit_code == 2:
            tell(f"seq2seq: error: {error}")
        # discard the rest of the output; otherwise Python tries to print it once more at exit
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error.exit_code
    except UserError as error:
        # torchrun ends all processes when one ends with an error: let the first one print it before that
        if name == "train" and not is_first_process():
            time.sleep(10)
        tell(f"seq2seq: error: {error}")
    except (MemoryError, RuntimeError) as error:
        # torch has an error of its own for a GPU, and for a CPU only a text
        full = isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
        if not full and "can't allocate memory" not in str(error):
            raise
        tell(f"seq2seq: error: {OUT_OF_MEMORY}")
    except OSError as error:
        place, fix = error.filename or "the system", f"; {MAKE_ROOM}" if error.errno in DISK_ERRORS else ""
        tell(f"seq2seq: error: {place}: {error.strerror or error}{fix}")
    except ModuleNotFoundError as error:
        if (error.name or "seq2seq").partition(".")[0] == "seq2seq":
            raise
        tell(f"seq2seq: error: {error.name} is not installed, and this needs it; pip install {error.name}")
    except UnicodeEncodeError as error:
        # Python has surrogates for bytes that are not UTF-8
        place = error.object[max(0, error.start - 80) : error.end + 80]
        tell(f"seq2seq: error: {place}: this is not UTF-8; rename the file or the folder")
    except KeyboardInterrupt as stop:
        # a training raises `Stopped`, which says what was saved
        where = f" {stop.where}" if hasattr(stop, "where") else ""
        if name != "train" or is_first_process():
            tell("", f"seq2seq: stopped{where}{HOW_TO_CONTINUE.get(name, '')}")
        return getattr(stop, "exit_code", 130)
    return 2


VERSION = ("--version", "-V")


class Parser(argparse.ArgumentParser):
    """A parser of arguments whose errors are one line, and whose help is written like the output of a command."""

    def error(self, message: str) -> NoReturn:
        """Print an error and end with exit code 2."""
        tell(f"{self.prog}: error: {message}; see {self.prog} --help")
        raise SystemExit(2)

    def _print_message(self, message: str, file: object = None) -> None:
        write(message)


def make_parser() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of the command line, and that of each command by its name."""
    parser = Parser(
        prog="seq2seq",
        description="Train an attention-based translator from parallel text, measure it and use it.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, indent_increment=1),
    )
    parser.add_argument(*VERSION, action="store_true", help="show the version and exit")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=command.HELP, description=command.__doc__)
        subparser.set_defaults(command=name)
        if hasattr(command, "add_options"):
            command.add_options(subparser)
    return parser, subparsers.choices


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments; `section.key=value` may stand after options too, which argparse alone does not allow."""
    parser, commands = make_parser()
    options = {name: [*commands[name]._option_string_actions] for name in commands}
    if {*VERSION} & {*argv[:2]}:
        say(f"seq2seq {__version__}")
        raise SystemExit(0)

    # the first word is the command
    first = argv[0] if argv else ""
    if first.startswith("-") and first not in ("-h", "--help"):
        option = first.partition("=")[0]
        if owners := [name for name in options if option in options[name]]:
            parser.error(f"{first} is an option of {', '.join(owners)}: write it after the command")
        hint = _guess(option, [*VERSION, *chain.from_iterable(options.values())])
        parser.error(f"{first} is no option of seq2seq{hint and f'; {hint}'}")
    if first and not first.startswith("-") and first not in options:
        parser.error(f"{first} is no command; {_guess(first, options) or 'the commands are ' + ', '.join(options)}")
    if stray := next((word for word in argv if "\0" in word), None):
        parser.error(f"{stray} holds a NUL character; leave it out")

    # unknown options, before argparse asks for what is missing; it takes the beginning of a name for the name
    known = [*options.get(first, []), *VERSION]
    words = takewhile(lambda word: word != "--", argv) if first in commands else []
    for i, word in enumerate(words):
        name = word.partition("=")[0]
        if name.startswith("--") and not any(option.startswith(name) for option in known):
            hint = _guess(name, known) or _as_override(argv[i:], commands[first])
            value = [each for each in argv[i + 1 : i + 2] if not each.startswith("-")]
            commands[first].error(f"unrecognized arguments: {' '.join([word, *value])}{hint and f'; {hint}'}")

    # what it does not know may be overrides of the config
    args, rest = parser.parse_known_args(argv)
    unknown = [word for word in rest if word.startswith("-") or "=" not in word or "overrides" not in args]
    if unknown:
        at = argv.index(unknown[0])
        hint = _as_override(argv[at:], commands[first]) or _as_override(argv[at - 1 :], commands[first])
        commands[first].error(f"unrecognized arguments: {' '.join(unknown)}{hint and f'; {hint}'}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return args


def _as_override(words: Sequence[str], command: Parser) -> str:
    """Say how a key of the config is set, if the first words seem to mean that and the command can; else nothing."""
    if all(action.dest != "overrides" for action in command._actions):
        return ""
    found = re.match(r"-*([a-z_]+(?:\.[a-z_]+)+)(?: *= *| )([^= ]*)", " ".join(words[:3]))
    return f"a key is set without -- and without spaces: {found[1]}={found[2] or '...'}" if found else ""


def _guess(word: str, names: Iterable[str]) -> str:
    """Return a question with the name that is most like a word, or an empty string if none is close."""
    close = nearest(word, names)
    return f"did you mean {close}?" if close else ""
