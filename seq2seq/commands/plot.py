"""Draw how a run learned: losses, scores on the dev set, attention, learning rate and speed. With
--attention, draw instead what each kept checkpoint looks at in one sentence.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.commands import console, options
from seq2seq.errors import UserError

if TYPE_CHECKING:
    from seq2seq.plots import AttentionMap
    from seq2seq.runs.run import Run

HELP = "draw the learning curves, or the attention of one sentence at each kept checkpoint"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what to draw, and where."""
    options.add_shared(parser, "run")
    text = "a source sentence; all checkpoints are given the best one's translation of it"
    output = "a .png or .svg picture (default: RUN/curves.png or attention.png)"
    parser.add_argument("--attention", metavar="TEXT", help=text)
    parser.add_argument("--words", action="store_true", help="with --attention: merge the pieces of a word")
    parser.add_argument("--output", type=Path, metavar="FILE", help=output)


def run(args: argparse.Namespace) -> None:
    """Draw a picture and print its path."""
    from seq2seq.plots import save_attention, save_curves
    from seq2seq.runs.run import Run

    folder = Run.open(args.run)
    output = args.output or folder.path / ("curves.png" if args.attention is None else "attention.png")
    if args.attention is None:
        if args.words:
            raise UserError("--words is for --attention TEXT; add it")
        save_curves(output, folder.metrics.records())
    else:
        console.check_utf8("--attention", args.attention)
        map = _attention_over_time(folder, args.attention)
        save_attention(output, map.words() if args.words else map)
    print(output)


def _attention_over_time(run: "Run", text: str) -> "AttentionMap":
    """Return one head per kept checkpoint: the mean of its heads while it is given the best one's translation."""
    from seq2seq.decoding.translator import Translator
    from seq2seq.plots import beside

    # the best checkpoint translates
    best, translator = run.checkpoints.named("best"), console.load_translator(run.path)
    console.check_attention(translator)
    (found,) = translator.look([text])

    # every checkpoint looks at the same tokens
    maps = {}
    for checkpoint in run.checkpoints.all():
        look = Translator.load(run.path, checkpoint=checkpoint).look_at(text, found.ids)
        assert look.decoder, "the model looks, and look_at refuses an empty text"
        maps[f"update {checkpoint.update:,}{', best' if checkpoint == best else ''}"] = look.decoder.mean()
    return beside(maps)
