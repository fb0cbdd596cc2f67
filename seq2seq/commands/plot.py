"""Draw how a run learned: losses, scores on the dev set, attention, learning rate and speed. With --attention, draw
instead how it learned to look: what the model looks at in one sentence of dev, from before the first update to the last
validation; or, with --attention TEXT, what each kept checkpoint looks at in that sentence.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seq2seq.commands import console, options
from seq2seq.errors import UserError
from seq2seq.streams import say

if TYPE_CHECKING:
    from seq2seq.decoding.attention_map import AttentionMap
    from seq2seq.runs.run import Run

HELP = "draw the learning curves, or how the attention of one sentence is learned"


class Looks(NamedTuple):
    """What a model looks at in one sentence, by the number of updates. All maps have one head and the same tokens."""

    source: str
    translation: str
    maps: dict[int, "AttentionMap"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what to draw, and where."""
    options.add_shared(parser, "run")
    text = "how the attention is learned: of TEXT, at each kept checkpoint; without TEXT, of a sentence of dev"
    output = "a .png or .svg picture, or with --attention an .html page (default: RUN/curves.png or attention.png)"
    parser.add_argument("--attention", metavar="TEXT", nargs="?", const=True, help=text)
    parser.add_argument("--words", action="store_true", help="with --attention: merge the pieces of a word")
    options.add_shared(parser, "--device")
    parser.add_argument("--output", type=Path, metavar="FILE", help=output)


def run(args: argparse.Namespace) -> None:
    """Draw a picture and print its path."""
    from seq2seq.plots import beside, save_attention, save_curves, save_page, spread
    from seq2seq.runs.run import Run

    # the learning curves
    run = Run.open(args.run)
    if args.attention is None:
        if args.words:
            raise UserError("--words is for --attention TEXT, or --attention alone; add one of them")
        run.must_be_a_folder("it has no learning curves; plot the run folder, or --attention TEXT")
        output = args.output or run.path / "curves.png"
        save_curves(output, run.metrics.records())
        say(str(output))
        return

    # the attention: a page has all that is known, a picture a row of panels
    looks = _watched(run) if args.attention is True else _at_checkpoints(run, args.attention, args.device)
    best = run.checkpoints.named("best")
    names = {n: f"update {n:,}{', best' if best and n == best.update else ''}" for n in looks.maps}
    map = beside({names[n]: looks.maps[n] for n in looks.maps})
    map = map.words() if args.words else map
    output = args.output or (run.path.parent if run.is_exported else run.path) / "attention.png"
    if output.suffix.lower() == ".html":
        save_page(output, looks.source, looks.translation, map)
    else:
        save_attention(output, spread(map), in_a_row=True)
    say(str(output))


def _watched(run: "Run") -> Looks:
    """Return the attention that the training has kept."""
    from seq2seq.files import is_file
    from seq2seq.training.watch import read_watched

    run.must_be_a_folder("it has no attention from its training; plot the run folder, or --attention TEXT")
    file = run.path / "attention.jsonl"
    if not is_file(file):
        what = "a training writes it if the model has attention"
        raise UserError(
            f"{file}: there is none; {what}; name a sentence, to see it at each checkpoint: --attention TEXT"
        )
    watched = read_watched(file)
    return Looks(*watched.sentence.pair, watched.maps())


def _at_checkpoints(run: "Run", text: str, device: str | None) -> Looks:
    """Return the attention of each kept checkpoint while it writes the translation of the best one."""
    from seq2seq.decoding.forced import look_at
    from seq2seq.decoding.translation import Options
    from seq2seq.decoding.translator import Translator
    from seq2seq.files import is_folder
    from seq2seq.runs.checkpoints import WEIGHTS

    # the best checkpoint translates
    console.check_utf8("--attention", text)
    translator = console.load_translator(run.path, device=device)
    console.check_attention(translator)
    (found,) = translator.look([text], Options(split_sentences=False))

    # every checkpoint is given the tokens of this translation; the mean of its heads is drawn
    maps: dict[int, AttentionMap] = {}
    while not maps:  # a training may delete a checkpoint meanwhile, even all of them for newer ones
        for checkpoint in run.checkpoints.all():
            try:
                model = Translator.load(run.path, checkpoint=checkpoint, device=device)
            except UserError:
                if is_folder(checkpoint.path):
                    raise
                continue
            look = look_at(model, text, found.ids)
            assert look.decoder, "the model looks, and look_at refuses an empty text"
            maps[checkpoint.update] = look.decoder.mean()
        run.checkpoints.find("best", WEIGHTS)  # raises UserError where none is left
    return Looks(text, found.translation.text, maps)
