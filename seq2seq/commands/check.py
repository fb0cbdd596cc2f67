"""Read the data, learn the vocabularies, build the model, run one step forward, and print what was found. Then list the
lines of the data that look wrong, and what to do about them. Nothing is changed. What it finds is advice: the exit
code is 0.
"""

import argparse
import json
from itertools import chain

from seq2seq.commands import options
from seq2seq.streams import say, write

HELP = "look for faults in the data, build the model and run one step; change nothing"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the config."""
    options.add_shared(parser, "config", "overrides", "--json")


def run(args: argparse.Namespace) -> None:
    """Print each fact as soon as it is known, or all of them as JSON."""
    from seq2seq.config import load_config
    from seq2seq.doctor.check import check

    facts = check(load_config(args.config, args.overrides))
    if args.json:
        write(json.dumps({fact.name: fact.data for fact in facts}) + "\n")
        return
    for label, text in chain.from_iterable(fact.lines for fact in facts):
        say(f"{label:<11} {text}")
