"""Average the weights of a run's newest checkpoints into a new run, and measure both on the dev set. The mean often
translates better than each of them; a training with training.ema averages as it goes, and needs this no more.
"""

import argparse
import os
from pathlib import Path

from seq2seq.commands import options
from seq2seq.errors import UserError
from seq2seq.streams import say

HELP = "average the weights of a run's checkpoints into a new run"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the run, how many checkpoints, and the new run."""
    options.add_shared(parser, "run")
    last = "checkpoints to average, the newest ones (default: all that the run keeps)"
    parser.add_argument("--last", type=int, metavar="N", help=last)
    parser.add_argument(
        "--run", dest="new", type=options.folder, metavar="DIR", help="the new run (default: RUN-average)"
    )
    options.add_shared(parser, "--device")


def run(args: argparse.Namespace) -> None:
    """Average, and compare the new run with the best checkpoint of the old one."""
    from seq2seq.decoding.translator import Translator
    from seq2seq.evaluation.evaluate import evaluate, split_texts
    from seq2seq.runs.average import average_checkpoints
    from seq2seq.runs.run import Run

    if args.last is not None and args.last < 2:
        raise UserError(f"--last is {args.last}; write 2 or more")
    old = Run.open(args.run)
    old.must_be_a_folder("it holds one checkpoint; average those of the run that it was exported from")
    new = average_checkpoints(old, args.new or Path(f"{os.path.normpath(args.run)}-average"), args.last)

    # measure both on dev
    tokenize = old.config().evaluation.bleu_tokenize
    names = {"the best checkpoint": old, "the mean": new}
    for name, folder in names.items():
        translator = Translator.load(folder.path, device=args.device)
        found = evaluate(translator, *split_texts(old, "dev"), tokenize=tokenize)
        say(f"{name:<20}dev BLEU {found.bleu.score:6.2f}   chrF {found.chrf.score:6.2f}   {folder.path}")
