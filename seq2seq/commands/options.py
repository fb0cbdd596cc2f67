"""The arguments and options that several commands share."""

import argparse
from pathlib import Path


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the run folder that a command works on."""
    parser.add_argument("run", metavar="RUN", help="a run folder, made by train")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the config file and its overrides."""
    parser.add_argument("config", metavar="CONFIG", type=Path, help="a YAML file; docs/config.md explains every key")
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add `section.key=value`, as often as the user likes."""
    example = "set a key of the config, for example search.beam=8"
    parser.add_argument("overrides", metavar="section.key=value", nargs="*", default=[], help=example)


def add_beam(parser: argparse.ArgumentParser) -> None:
    """Add the size of the beam."""
    beam = "hypotheses kept at each step; 1 is greedy search (default: the config's)"
    parser.add_argument("--beam", type=int, metavar="N", help=beam)


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add the options of the search for a translation."""
    add_beam(parser)
    batch_size = "sentences translated at a time (default: the config's)"
    shortlist = "search only among tokens that are likely for the source: faster"
    parser.add_argument("--batch-size", type=int, metavar="N", help=batch_size)
    tokens = parser.add_mutually_exclusive_group()
    tokens.add_argument("--shortlist", action="store_true", default=None, help=shortlist)
    tokens.add_argument("--exact", action="store_false", dest="shortlist", help="search among all tokens")


def add_input_and_output(parser: argparse.ArgumentParser) -> None:
    """Add a file of lines to read and a file to write."""
    parser.add_argument("--input", metavar="FILE", help="source sentences, one per line (default: standard input)")
    parser.add_argument("--output", metavar="FILE", help="the file to write (default: standard output)")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the choice of JSON instead of text for people."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
