"""The arguments and options that several commands share."""

import argparse
from pathlib import Path
from typing import Any

NUMBER = {"type": int, "metavar": "N"}
SHARED: dict[str, dict[str, Any]] = {
    "run": {"metavar": "RUN", "help": "a run folder, made by train"},
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


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add the options of the search for a translation."""
    add_shared(parser, "--beam", "--batch-size", "--device")
    shortlist = "search only among tokens that are likely for the source: faster"
    tokens = parser.add_mutually_exclusive_group()
    tokens.add_argument("--shortlist", action="store_true", default=None, help=shortlist)
    tokens.add_argument("--exact", action="store_false", dest="shortlist", help="search among all tokens")
