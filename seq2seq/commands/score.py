"""Print the log-probability that the model gives to each of some given translations: one number per line, a sum of
natural logarithms over the tokens, `</s>` included. With --json, print the tokens too, and the number of each.
"""

import argparse
import json

from seq2seq.commands import console, options
from seq2seq.errors import UserError

HELP = "print the log-probability of given translations"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the two files."""
    options.add_shared(parser, "run")
    parser.add_argument("--src", required=True, metavar="FILE", help="source lines")
    parser.add_argument("--tgt", required=True, metavar="FILE", help="their translations")
    options.add_shared(parser, "--device")
    parser.add_argument("--json", action="store_true", help="one JSON object per pair: its score, tokens, token_scores")


def run(args: argparse.Namespace) -> None:
    """Score each pair of lines."""
    from seq2seq.data.formats import stream_sides
    from seq2seq.decoding.forced import score_tokens

    pairs = list(stream_sides(args.src, args.tgt))
    translator = console.load_translator(args.run, device=args.device)
    try:
        scores = score_tokens(translator, [src for src, _ in pairs], [tgt for _, tgt in pairs])
    except UserError as error:
        raise UserError(f"{args.src} with {args.tgt}: {error}") from None
    for tokens, numbers in scores:
        if args.json:
            scored = {"score": sum(numbers), "tokens": tokens, "token_scores": numbers}
            print(json.dumps(scored, ensure_ascii=False))
        else:
            print(f"{sum(numbers):.6f}")
