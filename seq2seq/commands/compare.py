"""Compare configs or runs. With a config: train every combination of the --vary values with several seeds, each into
its own run folder, and print a table of the results on the dev set. The same command again continues where it stopped;
it may add values and seeds. With runs: test by paired bootstrap resampling whether their scores differ by more than
chance.
"""

import argparse
import os
import sys
from pathlib import Path

from seq2seq.commands import console, options
from seq2seq.errors import UserError
from seq2seq.streams import say

HELP = "train a grid of configs and print a table; or test whether runs differ"
SEEDS = 3  # trainings of each combination


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the config or the runs, and the options of each."""
    targets = "a YAML file and section.key=value for all trainings; or two or more run folders, the baseline first"
    parser.add_argument("targets", nargs="+", metavar="CONFIG | RUN", help=targets)
    parser.set_defaults(overrides=[])

    # a grid of trainings
    vary = "values to try; several --vary are combined, every value with every other"
    minutes = "time of each training: sets training.max_minutes; training.max_updates still ends it"
    folder = "the comparison's folder (default: runs/compare- and the config's name)"
    add = parser.add_argument_group("with a config").add_argument
    add("--vary", action="append", metavar="section.key=VALUE,VALUE", help=vary)
    add("--seeds", type=int, metavar="N", help=f"trainings of each combination (default: {SEEDS})")
    add("--updates", type=int, metavar="N", help="length of each training: sets training.max_updates")
    add("--minutes", type=float, metavar="M", help=minutes)
    add("--run", type=options.folder, metavar="DIR", help=folder)

    # trained runs
    group = parser.add_argument_group("with runs")
    add = group.add_argument
    options.add_shared(group, "--device")
    add("--split", choices=("dev", "test"), help="lines to translate (default: test if there is one)")


def run(args: argparse.Namespace) -> None:
    """Compare configs, or runs if the first target is a folder or an exported file."""
    from seq2seq.archives import is_archive

    first = Path(args.targets[0])
    (_compare_runs if first.is_dir() or is_archive(first) else _compare_configs)(args)


def _compare_configs(args: argparse.Namespace) -> None:
    from seq2seq.experiments.trials import compare, make_grid

    # check the options
    config, overrides = args.targets[0], [*args.targets[1:], *args.overrides]
    if strays := [word for word in overrides if "=" not in word or os.path.isdir(word)]:
        raise UserError(f"{strays[0]}: after a config come section.key=value; to compare runs give run folders alone")
    if args.split:
        raise UserError("--split is for runs; the models of a config are compared on data.dev")
    if args.device:
        raise UserError(f"--device is for runs; to train on it, write training.device={args.device}")
    if args.vary is None:
        raise UserError("--vary is missing: what to compare, such as --vary model.attention.score=dot,general")
    if args.updates is not None and args.minutes is not None:
        raise UserError("--updates and --minutes are two lengths of a training; give one of them")

    # --updates and --minutes set a key
    if length := next((name for name in ("updates", "minutes") if getattr(args, name) is not None), None):
        key = f"training.max_{length}"
        if any(word.partition("=")[0].strip() == key for word in overrides):
            raise UserError(f"--{length} sets {key}, which is given as well; leave one of them out")
        overrides.append(f"{key}={getattr(args, length)}")

    # train what is missing, and print the table
    grid = make_grid(Path(config), overrides, args.vary, SEEDS if args.seeds is None else args.seeds)
    folder = args.run or Path("runs") / f"compare-{Path(config).stem}"
    with console.log_beside_progress_bar():
        table = compare(grid, folder, ["seq2seq", *sys.argv[1:]])
    place = f"The table is in {folder} (table.md, .csv, .json), each model in a folder there."
    say("", *table.markdown().split("\n"), place)


def _compare_runs(args: argparse.Namespace) -> None:
    from seq2seq.evaluation.significance import SAMPLES, compare_runs
    from seq2seq.runs.run import Run

    # check the options
    first = args.targets[0]
    if not Run(Path(first)).exists():
        raise UserError(f"{first}: a folder without a config.yaml; give a YAML file, or two or more run folders")
    for option in ("vary", "seeds", "updates", "minutes", "run"):
        if getattr(args, option) is not None:
            raise UserError(f"--{option} is for a config; {first} is the folder of a run")
    paths = [*args.targets, *args.overrides]  # the folder of a comparison's run has a `=` in its name
    if len(paths) < 2:
        raise UserError(f"{first} alone cannot be compared; give two or more run folders, or a config")

    # translate and test
    found = compare_runs([Path(path) for path in paths], args.split, args.device)
    size = f"{found.split} set: {found.sentences:,} sentences"
    say(f"{size}; paired bootstrap, {SAMPLES:,} samples; [95 % of the samples]")
    if len(set(found.searches)) > 1:
        say("The runs search differently (beam, length penalty): differences may come from that, not from the models")

    for note in found.notes:
        say(note)

    # a table for each metric: score, interval, difference from the baseline, and what that means
    name_width, search_width = max(map(len, paths)), max(map(len, found.searches))
    for test in found.tests:
        say("", f"{test.metric}   {test.signature}")
        baseline = test.systems[0].score
        for system, search in zip(test.systems, found.searches, strict=True):
            result = "baseline" if system.p is None else f"{system.score - baseline:+.2f}   p = {system.p:.3f}"
            name = f"{system.name:<{name_width}}  {search:<{search_width}}"
            say(f"  {name}  {system.score:6.2f}  [{system.low:.2f}, {system.high:.2f}]   {result}")
        for verdict in test.verdicts():
            say(f"  {verdict}")
