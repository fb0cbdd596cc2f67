"""Print what a shell needs to complete commands, options and names of files. For bash, keep it in the file
~/.local/share/bash-completion/completions/seq2seq; for zsh, in a file _seq2seq in a folder of fpath.
"""

import argparse

from seq2seq.streams import write

HELP = "print the completion of bash or zsh"
FILES = ("FILE", "RUN", "CONFIG", "CONFIG | RUN", "DIR")  # values that are completed with names of files and folders


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the shell."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell")


def run(args: argparse.Namespace) -> None:
    """Print the completion."""
    import shtab

    from seq2seq.commands.main import make_parser

    parser, commands = make_parser()
    for command in commands.values():
        for action in command._actions:
            if action.metavar in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    write(shtab.complete(parser, shell=args.shell))
