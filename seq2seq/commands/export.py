"""Export a run to one file: its best checkpoint and all else that a translator needs, without the optimizer and without
paths of this machine. Every command takes the file like a run. The same run gives the same bytes.
"""

import argparse
import shlex
from pathlib import Path

from seq2seq.commands import console, options
from seq2seq.streams import say

HELP = "write a run into one file to take away"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the file to write, and what it says of itself."""
    options.add_shared(parser, "run")
    parser.add_argument("file", metavar="FILE", type=Path, help="the file to write, for example en-de.s2s")
    license = "what others may do with the model: a name such as CC-BY-4.0, or a text (default: none is given)"
    parser.add_argument("--license", metavar="TEXT", help=license)


def run(args: argparse.Namespace) -> None:
    """Write the file, and say what is in it."""
    from seq2seq.runs.exporting import export_run
    from seq2seq.runs.run import Run

    console.check_utf8("--license", args.license or "")
    card = export_run(Run.open(args.run), args.file, args.license)

    # what it holds, and what can be done next
    say(
        f"{args.file}: {args.file.stat().st_size:,} bytes",
        f"  languages    {card.source} to {card.target}",
        f"  sizes        {card.parameters:,} parameters, {card.vocabulary['target']:,} target tokens",
        f"  checkpoint   update {card.update:,}",
    )
    for split, scores in card.scores.items():
        say(f"  {split:<13}BLEU {scores.bleu.score:.2f}, chrF {scores.chrf.score:.2f}, {scores.sentences:,} sentences")
    if not card.scores:
        say(f"  scores       none; {shlex.join(['seq2seq', 'evaluate', args.run])} measures it, then export it again")
    say(f"  license      {(card.license or 'none; --license TEXT says what others may do with it'):.200}")
    say("", "Every command takes it like a run:", f"  {shlex.join(['seq2seq', 'translate', str(args.file)])}")
