"""Train for some updates, from a config or from the best checkpoint of a run, and report the speed: where the time
goes, how far it is from what the machine can do, and what to change. Nothing is written.
"""

import argparse
import json
from pathlib import Path

from seq2seq.commands import options
from seq2seq.streams import say, write

HELP = "measure the speed of a training, where its time goes and what to change; write nothing"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what to train, and for how long."""
    parser.add_argument("target", metavar="CONFIG | RUN", type=Path, help="a YAML file, or a run folder, made by train")
    options.add_shared(parser, "overrides")
    parser.add_argument("--updates", type=int, default=30, metavar="N", help="updates to measure (default: 30)")
    options.add_shared(parser, "--device", "--json")


def run(args: argparse.Namespace) -> None:
    """Measure and report."""
    from seq2seq.profiling.bench import bench
    from seq2seq.profiling.profile import report

    profile = bench(args.target, args.overrides, args.updates, args.device)
    if args.json:
        write(json.dumps(profile.as_dict()) + "\n")
    else:
        say(*"\n".join(report(profile)).split("\n"))
