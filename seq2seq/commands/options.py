"""The arguments and options that several commands share."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.errors import UserError

if TYPE_CHECKING:
    from seq2seq.data.tables import Form


def folder(text: str) -> Path:
    """Return the folder that an option names."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(text)


NUMBER = {"type": int, "metavar": "N"}
SHARED: dict[str, dict[str, Any]] = {
    "run": {"metavar": "RUN", "help": "a run folder, made by train, or a file, made by export"},
    "others": {
        "metavar": "RUN",
        "nargs": "*",
        "help": "more runs of the same vocabularies, such as other seeds: their models translate together",
    },
    "config": {"metavar": "CONFIG", "type": Path, "help": "a YAML file; docs/config.md explains every key"},
    "overrides": {
        "metavar": "section.key=value",
        "nargs": "*",
        "default": [],
        "help": "set a key of the config, for example search.beam=8",
    },
    "--input": {"metavar": "FILE", "help": "source sentences, one per line (default: standard input)"},
    "--output": {"metavar": "FILE", "help": "the file to write (default: standard output)"},
    "--beam": NUMBER | {"help": "hypotheses kept at each step; 1 is greedy search (default: the config's)"},
    "--batch-size": NUMBER | {"help": "sentences translated at a time (default: the config's)"},
    "--by": {"choices": ("word", "token"), "help": "tokens, for a script without spaces, or words"},
    "--device": {"metavar": "NAME", "help": "cpu, cuda, cuda:1, mps or auto (default: the config's, else cpu)"},
    "--json": {"action": "store_true", "help": "print one JSON object"},
}


def add_shared(parser: argparse._ActionsContainer, *names: str) -> None:
    """Add some of the shared arguments and options by their names."""
    for name in names:
        parser.add_argument(name, **SHARED[name])


def add_table(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a table is read."""
    columns = "columns of a table that hold source and target, by number or name: 2,3; 1+3,2 joins two for the source"
    header = "whether the first row of a table is a header (default: auto, if it names languages)"
    parser.add_argument("--columns", metavar="A,B", help=columns)
    parser.add_argument("--header", choices=("auto", "true", "false"), help=header)


def check_data(args: argparse.Namespace, other: str | None) -> None:
    """Raise UserError if `--data` is given beside the option of another file, or an option of tables without it."""
    if args.data and other:
        raise UserError(f"--data {args.data} and --src {other} are both given; give one of them")
    if (args.columns or args.header) and not args.data:
        raise UserError("--columns and --header say how --data is read; give --data FILE")


def read_form(args: argparse.Namespace, form: "Form") -> "Form":
    """Return a form with the columns of `--columns` and the header of `--header`, where they are given."""
    if args.columns:
        names = [name.strip() for name in args.columns.split(",")]
        columns = [int(name) if name.isdecimal() else name for name in names]
        if len(columns) != 2 or not all(columns):
            raise UserError(f"--columns {args.columns}: give two columns, such as 1,2 or english,french")
        form = form._replace(columns=columns)
    if args.header:
        form = form._replace(header={"true": True, "false": False}.get(args.header, "auto"))
    return form


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add the options of the search for a translation."""
    add_shared(parser, "--beam", "--batch-size", "--device")
    shortlist = "search only among tokens that are likely for the source: faster"
    tokens = parser.add_mutually_exclusive_group()
    tokens.add_argument("--shortlist", action="store_true", default=None, help=shortlist)
    tokens.add_argument("--exact", action="store_false", dest="shortlist", help="search among all tokens")
    mbr = "of all hypotheses in the beam take the one that is most like the others (minimum Bayes risk, by chrF)"
    parser.add_argument("--mbr", action="store_true", help=mbr)
    precision = "number format of the search (default: search.precision of the run's config)"
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), help=precision)
