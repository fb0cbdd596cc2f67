"""Translate a test set and measure the translations: BLEU, chrF and TER (by sacrebleu), exact match, character error
rate. The translations and the measures are kept in the run folder. A line is translated in one piece, as in training.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.commands import console, options
from seq2seq.errors import UserError

if TYPE_CHECKING:
    from seq2seq.evaluation.evaluate import Evaluation

HELP = "measure BLEU, chrF, TER, exact match and character error rate"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what to translate, how, and how to measure."""
    options.add_shared(parser, "run")
    add = parser.add_argument
    add("--split", choices=("dev", "test"), default="test", help="which data of the run to translate (default: test)")
    add("--src", metavar="FILE", help="translate these lines instead; needs --ref")
    add("--ref", metavar="FILE", nargs="+", help="reference translations of --src; several files are alternatives")
    options.add_search(parser)
    add("--tokenize", default="13a", metavar="NAME", help="sacrebleu's tokenizer for BLEU (default: 13a)")
    add("--lowercase", action="store_true", help="ignore upper and lower case")
    options.add_shared(parser, "--json")


def run(args: argparse.Namespace) -> None:
    """Translate, measure, keep the results in the run folder, and print them."""
    from seq2seq.evaluation.evaluate import evaluate, file_texts, save_evaluation, split_texts
    from seq2seq.runs.run import Run

    if bool(args.src) != bool(args.ref):
        raise UserError("--src and --ref go together: the lines to translate and their reference translations")

    # translate and measure two files, or a split of the run's data
    folder = Run.open(args.run)
    texts = file_texts(args.src, args.ref) if args.src else split_texts(folder, args.split)
    translator = console.load_translator(args.run, args.batch_size, args.shortlist, args.device)
    evaluation = evaluate(translator, *texts, beam=args.beam, tokenize=args.tokenize, lowercase=args.lowercase)

    # keep and print
    name = Path(args.src).name if args.src else args.split
    save_evaluation(folder, name, evaluation)
    if args.json:
        print(json.dumps(evaluation.as_dict()))
    else:
        print_evaluation(name, evaluation)


def print_evaluation(name: str, evaluation: "Evaluation") -> None:
    """Print each measure with the signature that says how it was computed."""
    print(f"\n{name}: {evaluation.sentences:,} sentences in {evaluation.seconds:.1f} s")
    for label, measure in evaluation.measures().items():
        print(f"  {label:<12}{measure.score:6.2f}   {measure.signature}")
