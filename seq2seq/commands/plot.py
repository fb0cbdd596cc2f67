"""Draw how a run learned: losses, scores on the dev set, attention, learning rate and speed. With
--attention, draw instead what each kept checkpoint looks at in one sentence.
"""

import argparse
from pathlib import Path

from seq2seq.commands import console, options
from seq2seq.errors import UserError
from seq2seq.streams import say

HELP = "draw the learning curves, or the attention of one sentence at each kept checkpoint"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what to draw, and where."""
    options.add_shared(parser, "run")
    text = "a source sentence; all checkpoints are given the best one's translation of it"
    output = "a .png or .svg picture (default: RUN/curves.png or attention.png)"
    parser.add_argument("--attention", metavar="TEXT", help=text)
    parser.add_argument("--words", action="store_true", help="with --attention: merge the pieces of a word")
    options.add_shared(parser, "--device")
    parser.add_argument("--output", type=Path, metavar="FILE", help=output)


def run(args: argparse.Namespace) -> None:
    """Draw a picture and print its path."""
    from seq2seq.decoding.forced import look_at
    from seq2seq.decoding.translator import Translator
    from seq2seq.files import is_folder
    from seq2seq.plots import AttentionMap, beside, save_attention, save_curves
    from seq2seq.runs.checkpoints import WEIGHTS
    from seq2seq.runs.run import Run

    # the learning curves
    run = Run.open(args.run)
    if args.attention is None:
        if args.words:
            raise UserError("--words is for --attention TEXT; add it")
        run.must_be_a_folder("it has no learning curves; plot the run folder, or --attention TEXT")
        output = args.output or run.path / "curves.png"
        save_curves(output, run.metrics.records())
        say(str(output))
        return

    # the best checkpoint translates
    console.check_utf8("--attention", args.attention)
    best, translator = run.checkpoints.named("best"), console.load_translator(run.path, device=args.device)
    console.check_attention(translator)
    (found,) = translator.look([args.attention], split_sentences=False)

    # every checkpoint is given the tokens of this translation; the mean of its heads is a head of the picture
    maps: dict[str, AttentionMap] = {}
    while not maps:  # a training may delete a checkpoint meanwhile, even all of them for newer ones
        for checkpoint in run.checkpoints.all():
            try:
                model = Translator.load(run.path, checkpoint=checkpoint, device=args.device)
            except UserError:
                if is_folder(checkpoint.path):
                    raise
                continue
            look = look_at(model, args.attention, found.ids)
            assert look.decoder, "the model looks, and look_at refuses an empty text"
            maps[f"update {checkpoint.update:,}{', best' if checkpoint == best else ''}"] = look.decoder.mean()
        run.checkpoints.find("best", WEIGHTS)  # raises UserError where none is left
    map = beside(maps).words() if args.words else beside(maps)
    folder = run.path.parent if run.is_exported else run.path
    output = args.output or folder / "attention.png"
    save_attention(output, map)
    say(str(output))
