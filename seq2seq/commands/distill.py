"""Write a training corpus with models: translate the training text of a run, or other text with --input, and keep what
passes some filters. A student learns from it with data.train: [{path: data/real}, {path: PREFIX}]. With a run of the
other direction and text of the target language this is back-translation. The same command goes on where it was stopped.
"""

import argparse
import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from seq2seq.commands import console, options
from seq2seq.errors import UserError
from seq2seq.streams import say

HELP = "translate text into a training corpus: distillation, back-translation"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the runs, the text, the corpus and the search."""
    options.add_shared(parser, "run", "others")
    add = parser.add_argument
    text = "lines to translate, one per line (default: the source side of the run's training text)"
    add("--input", metavar="FILE", help=text)
    prefix = "the corpus: PREFIX with the two languages as endings, and PREFIX.json, which says where it comes from"
    add("--output", metavar="PREFIX", type=Path, required=True, help=prefix)
    add("--nbest", type=int, default=1, metavar="N", help="translations of a line to write, each a pair (default: 1)")
    options.add_search(parser)


def run(args: argparse.Namespace) -> None:
    """Translate, filter, write."""
    from seq2seq.data.dataset import each_once
    from seq2seq.decoding.translation import Options
    from seq2seq.experiments.distilling import write_corpus
    from seq2seq.runs.run import Run

    # check the options, before the work
    runs = [Run.open(path) for path in (args.run, *args.others)]
    data = runs[0].config().data
    for ending in (data.src, data.tgt, "json"):
        if os.path.lexists(f"{args.output}.{ending}") and not os.path.isdir(f"{args.output}.parts"):
            raise UserError(f"{args.output}.{ending}: exists already; choose another prefix with --output")
    if not args.output.parent.is_dir():
        raise UserError(f"{args.output.parent}: no such folder; make it, or choose another prefix with --output")
    translator = console.load_translator(
        args.run, args.batch_size, args.shortlist, args.device, args.precision, args.others
    )
    search = {"beam": args.beam, "nbest": args.nbest, "mbr": args.mbr}
    translator.check(Options(**search))

    # translate
    lines: Iterable[str]
    if args.input:
        lines = chain.from_iterable(console.read_batches(args.input, translator.search.batch_size))
    else:
        runs[0].must_be_a_folder("it holds no text; give the lines to translate with --input")
        lines = (src for src, _ in each_once(runs[0].config()))
    written = write_corpus(translator, runs, lines, args.output, **search)
    left_out = "; ".join(f"{reason}: {count:,}" for reason, count in written.dropped.items())
    say(f"{written.pairs:,} pairs of {written.lines:,} lines are in {args.output}.{data.src} and .{data.tgt}")
    say(*([f"left out: {left_out}"] if left_out else []))
