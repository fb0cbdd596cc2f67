"""Print the log-probability that the model gives to each of some given translations: one number per line, a sum of
natural logarithms over the tokens, `</s>` included.
"""

import argparse

from seq2seq.commands import console, options
from seq2seq.errors import UserError
from seq2seq.streams import write

HELP = "print the log-probability of given translations"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the two files."""
    options.add_shared(parser, "run")
    parser.add_argument("--src", required=True, metavar="FILE", help="source lines")
    parser.add_argument("--tgt", required=True, metavar="FILE", help="their translations")


def run(args: argparse.Namespace) -> None:
    """Score each pair of lines."""
    from seq2seq.data.formats import stream_sides
    from seq2seq.decoding.forced import score

    pairs = list(stream_sides(args.src, args.tgt))
    translator = console.load_translator(args.run)
    try:
        scores = score(translator, [src for src, _ in pairs], [tgt for _, tgt in pairs])
    except UserError as error:
        raise UserError(f"{args.src} with {args.tgt}: {error}") from None
    write("".join(f"{number:.6f}\n" for number in scores))
