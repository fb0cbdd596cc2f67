"""Find the beam and the length penalty that translate the dev set best. They become the defaults of the run; its
environment.json keeps the table.
"""

import argparse
from typing import TypeVar

from seq2seq.commands import console, options
from seq2seq.errors import UserError
from seq2seq.streams import say

Number = TypeVar("Number", int, float)

HELP = "find a run's best beam and length penalty on the dev set"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the run, and the values to try."""
    options.add_shared(parser, "run")
    beams = "beams to try (default: 1,2,5,10)"
    length_penalties = "length penalties to try with each beam (default: 0,0.3,0.6,1,1.4)"
    parser.add_argument("--beams", metavar="N,N", help=beams)
    parser.add_argument("--length-penalties", metavar="A,A", help=length_penalties)
    parser.add_argument("--dry-run", action="store_true", help="print the table, and leave the run as it is")
    options.add_shared(parser, "--batch-size", "--device")


def run(args: argparse.Namespace) -> None:
    """Search with every setting, print the table, and keep the best."""
    from tabulate import tabulate

    from seq2seq.evaluation.choice import LABELS
    from seq2seq.experiments.tuning import BEAMS, LENGTH_PENALTIES, best_of, keep_best, try_searches
    from seq2seq.runs.run import Run

    # the settings, and the measure that also decides which checkpoint is the best
    beams = _numbers("--beams", args.beams, int, 1, 1000) or BEAMS
    length_penalties = _numbers("--length-penalties", args.length_penalties, float, 0, 10) or LENGTH_PENALTIES
    folder = Run.open(args.run)
    folder.must_be_a_folder("nothing can be tuned in it; tune the run that it was exported from")
    config = folder.config()
    wanted = folder.environment().get("early_stopping_metric", config.training.early_stopping_metric)
    metric = wanted if wanted in LABELS and wanted != "loss" else "bleu"

    # search
    translator = console.load_translator(args.run, args.batch_size, device=args.device)
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
    say("", *table.split("\n"), "", f"{found}{best.length_penalty:g}   {best.score.signature}")
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
