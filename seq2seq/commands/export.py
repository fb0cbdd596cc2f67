"""Export a run to one file: its best checkpoint and all else that a translator needs, without the optimizer and without
paths of this machine. Every command takes the file like a run. The same run gives the same bytes. With --onnx, export
it to ONNX instead, for programs without torch.
"""

import argparse
import shlex
from pathlib import Path

from seq2seq.commands import console, options
from seq2seq.errors import UserError
from seq2seq.streams import say

HELP = "write a run into one file to take away, or to ONNX"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the file to write, and what it says of itself."""
    options.add_shared(parser, "run")
    parser.add_argument("file", metavar="FILE", type=Path, nargs="?", help="the file to write, such as en-de.s2s")
    onnx = "write encoder.onnx, step.onnx and the vocabularies into this new folder instead of a file"
    parser.add_argument("--onnx", metavar="DIR", type=Path, help=onnx)
    license = "what others may do with the model: a name such as CC-BY-4.0, or a text (default: none is given)"
    parser.add_argument("--license", metavar="TEXT", help=license)


def run(args: argparse.Namespace) -> None:
    """Write the file or the folder, and say what is in it."""
    from seq2seq.runs.exporting import export_run
    from seq2seq.runs.onnx import export_onnx
    from seq2seq.runs.run import Run

    # write
    console.check_utf8("--license", args.license or "")
    if bool(args.file) == bool(args.onnx):
        raise UserError("give the FILE to write, or --onnx DIR: one of them")
    written, run = args.file or args.onnx, Run.open(args.run)
    card = export_run(run, written, args.license) if args.file else export_onnx(run, written, args.license)

    # say what it holds, and what can be done next
    size = sum(file.stat().st_size for file in (written.rglob("*") if args.onnx else [written]) if file.is_file())
    say(
        f"{written}: {size:,} bytes",
        f"  languages    {card.source} to {card.target}",
        f"  sizes        {card.parameters:,} parameters, {card.vocabulary['target']:,} target tokens",
        f"  checkpoint   update {card.update:,}",
    )
    for split, scores in card.scores.items():
        say(f"  {split:<13}BLEU {scores.bleu.score:.2f}, chrF {scores.chrf.score:.2f}, {scores.sentences:,} sentences")
    if not card.scores:
        say(f"  scores       none; {shlex.join(['seq2seq', 'evaluate', args.run])} measures it, then export it again")
    say(f"  license      {(card.license or 'none; --license TEXT says what others may do with it'):.200}")
    if args.file:
        say("", "Every command takes it like a run:", f"  {shlex.join(['seq2seq', 'translate', str(written)])}")
