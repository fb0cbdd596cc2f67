"""Tune a run or a config on the dev set. With a run: find the beam and the length penalty that translate best; they
become the defaults of the run, and its environment.json keeps the table. With a config: try the values of --space by
successive halving: all trials are trained a little, the best go on. The same command goes on where it was stopped.
"""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TypeVar

from seq2seq.commands import console, options
from seq2seq.errors import UserError
from seq2seq.streams import say

Number = TypeVar("Number", int, float)

HELP = "find a run's best beam and length penalty, or a config's best values, on the dev set"
ETA = 3


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the run or the config, and the options of each."""
    parser.add_argument("target", metavar="RUN | CONFIG", help="a run folder; or a YAML file with section.key=value")
    options.add_shared(parser, "overrides")

    # a run
    group = parser.add_argument_group("with a run")
    beams = "beams to try (default: 1,2,5,10)"
    length_penalties = "length penalties to try with each beam (default: 0,0.3,0.6,1,1.4)"
    group.add_argument("--beams", metavar="N,N", help=beams)
    group.add_argument("--length-penalties", metavar="A,A", help=length_penalties)
    group.add_argument(
        "--dry-run", action="store_true", default=None, help="print the table, and leave the run as it is"
    )
    options.add_shared(group, "--batch-size", "--device")

    # a config
    space = "a YAML file of keys with a list of values each, such as model.dropout: [0.2, 0.4]"
    updates = "updates of the trials on the last rung (default: training.max_updates, which always sets the schedule)"
    eta = f"of the trials on a rung one in N goes on, to N times as many updates (default: {ETA})"
    add = parser.add_argument_group("with a config").add_argument
    add("--space", type=Path, metavar="FILE", help=space)
    add("--trials", type=int, metavar="N", help="draw N of the combinations at random (default: all)")
    add("--seed", type=int, metavar="N", help="seed of this draw (default: the config's)")
    add("--updates", type=int, metavar="N", help=updates)
    add("--eta", type=int, metavar="N", help=eta)
    add(
        "--run",
        type=options.folder,
        metavar="DIR",
        help="folder of the search (default: runs/tune- and the config's name)",
    )


def run(args: argparse.Namespace) -> None:
    """Tune a run, or a config if the target is one."""
    from seq2seq.archives import is_archive

    target = Path(args.target)
    is_run = target.is_dir() or is_archive(target)
    of_run = ("beams", "length_penalties", "dry_run", "batch_size", "device")
    of_config = ("space", "trials", "seed", "updates", "eta", "run")
    for name in of_config if is_run else of_run:
        if getattr(args, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} is for a {'config' if is_run else 'run'}; {target} is none")
    if is_run and args.overrides:
        raise UserError(f"{args.overrides[0]}: section.key=value is for a config; {target} is a run")
    if not is_run and args.space is None:
        raise UserError("--space is missing: a YAML file with the values to try, such as model.dropout: [0.2, 0.4]")
    (_tune_run if is_run else _tune_config)(args)


def _tune_config(args: argparse.Namespace) -> None:
    from seq2seq.experiments.halving import draw, halve, read_space

    # the trials
    config, eta = Path(args.target), ETA if args.eta is None else args.eta
    if eta < 2:
        raise UserError(f"--eta is {eta}; write 2 or more")
    space = read_space(args.space, config, args.overrides)
    grid = draw(config, args.overrides, space, args.trials, args.seed)
    longest = max(trial.config.training.max_updates for trial in grid.trials)
    updates = longest if args.updates is None else args.updates
    if not 1 <= updates <= longest:
        raise UserError(f"--updates is {updates}; write 1 to training.max_updates ({longest}), or raise that")

    # train, and print the table
    folder = args.run or Path("runs") / f"tune-{config.stem}"
    with console.log_beside_progress_bar():
        search = halve(grid, folder, updates, eta, ["seq2seq", *sys.argv[1:]])
    best = folder / search.ranked()[0].name
    finish = shlex.join([*console.program(), "train", str(folder / "best.yaml"), "--run", str(best), "--resume"])
    place = f"The best config is {folder / 'best.yaml'}. Train it to its end, and measure it:"
    say("", *search.markdown().split("\n"), place, f"  {finish}")


def _tune_run(args: argparse.Namespace) -> None:
    """Search with every setting, print the table, and keep the best."""
    from tabulate import tabulate

    from seq2seq.evaluation.choice import LABELS
    from seq2seq.evaluation.evaluate import can_keep
    from seq2seq.experiments.tuning import BEAMS, LENGTH_PENALTIES, best_of, keep_best, try_searches
    from seq2seq.runs.run import Run

    # the settings, and the measure that also decides which checkpoint is the best
    beams = _numbers("--beams", args.beams, int, 1, 1000) or BEAMS
    length_penalties = _numbers("--length-penalties", args.length_penalties, float, 0, 10) or LENGTH_PENALTIES
    folder = Run.open(args.target)
    folder.must_be_a_folder("nothing can be tuned in it; tune the run that it was exported from")
    if not args.dry_run and (unkept := can_keep(folder, "config.yaml")):
        raise UserError(f"{unkept}; --dry-run searches and changes nothing")
    config = folder.config()
    wanted = folder.environment().get("early_stopping_metric", config.training.early_stopping_metric)
    metric = wanted if wanted in LABELS and wanted != "loss" else "bleu"

    # search
    translator = console.load_translator(args.target, args.batch_size, device=args.device)
    with console.log_beside_progress_bar():
        trials = try_searches(folder, translator, metric, beams, length_penalties)

    # print a row a beam, and keep the best
    scores = [trial.score.score for trial in trials]
    width = len(length_penalties)
    rows = [[beam, *scores[i * width : (i + 1) * width]] for i, beam in enumerate(beams)]
    headers = ["beam", *(f"length penalty {alpha:g}" for alpha in length_penalties)]
    table = tabulate(rows, headers, tablefmt="pipe", floatfmt=".2f")
    best = best_of(trials, metric, config.search)
    found = f"best {LABELS[metric]} on dev: {best.score.score:.2f} with beam {best.beam}, length penalty "
    say("", *table.split("\n"), "")
    if len({*scores}) < min(2, len(scores)):
        say(f"all settings have the same {LABELS[metric]} on dev: the config stays as it is")
        return
    say(f"{found}{best.length_penalty:g}   {best.score.signature}")
    if not args.dry_run:
        keep_best(folder, trials, metric, translator.device)
        say(f"search.beam and search.length_penalty of {folder.path / 'config.yaml'} are set to it")


def _numbers(option: str, text: str | None, kind: type[Number], low: int, high: int) -> list[Number]:
    """Read a list of numbers; raise UserError, with an example, where one is none or out of its limits."""
    try:
        found = sorted({kind(word) for word in text.split(",")}) if text is not None else []
        if all(low <= number <= high for number in found):
            return found
    except ValueError:
        pass
    numbers = "whole numbers" if kind is int else "numbers"
    example = "1,5,10" if kind is int else "0,0.6,1"
    raise UserError(f"{option} {text}: write {numbers} from {low} to {high}, such as {example}")
