"""Print the log-probability that the model gives to each of some given translations: one number per line, a sum of
natural logarithms over the tokens, `</s>` included. With --json, print the tokens too, and the number of each.
"""

import argparse
import json

from seq2seq.commands import console, options
from seq2seq.errors import UserError
from seq2seq.streams import write

HELP = "print the log-probability of given translations"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the files."""
    options.add_shared(parser, "run")
    parser.add_argument("--src", metavar="FILE", help="source lines; needs --tgt")
    parser.add_argument("--tgt", metavar="FILE", help="their translations")
    parser.add_argument("--data", metavar="FILE", help="both, in a table or in two files by their prefix")
    options.add_table(parser)
    options.add_shared(parser, "--device")
    parser.add_argument("--json", action="store_true", help="one JSON object per pair: its score, tokens, token_scores")


def run(args: argparse.Namespace) -> None:
    """Score each pair of lines."""
    from seq2seq.data.dataset import form_of
    from seq2seq.decoding.forced import score_tokens
    from seq2seq.evaluation.evaluate import corpus_texts, file_texts
    from seq2seq.runs.run import Run

    options.check_data(args, args.src)
    if bool(args.src) != bool(args.tgt) or not (args.src or args.data):
        raise UserError("give --src and --tgt, or --data: source lines and their translations")

    # the pairs
    form = options.read_form(args, form_of(Run.open(args.run).config()))
    if args.data:
        sources, (targets,) = corpus_texts(args.data, form)
    else:
        sources, (targets,) = file_texts(args.src, [args.tgt], form)

    # their scores
    translator = console.load_translator(args.run, device=args.device)
    try:
        scores = score_tokens(translator, sources, targets)
    except UserError as error:
        raise UserError(f"{args.data or f'{args.src} with {args.tgt}'}: {error}") from None
    for tokens, numbers in scores:
        if args.json:
            scored = {"score": sum(numbers), "tokens": tokens, "token_scores": numbers}
            write(json.dumps(scored, ensure_ascii=False) + "\n")
        else:
            write(f"{sum(numbers):.6f}\n")
