"""Translate a test set and measure the translations: BLEU, chrF and TER (by sacrebleu), exact match, character error
rate. The translations and the measures are kept in the run folder. A line is translated in one piece, as in training.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.commands import console, options
from seq2seq.errors import UserError
from seq2seq.streams import say, write

if TYPE_CHECKING:
    from seq2seq.evaluation.evaluate import Evaluation, Texts
    from seq2seq.runs.run import Run

HELP = "measure BLEU, chrF, TER, exact match and character error rate"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what to translate, how, and how to measure."""
    options.add_shared(parser, "run", "others")
    references = "reference translations of --src; several files are alternatives"
    add = parser.add_argument
    add("--split", choices=("dev", "test"), default="test", help="which data of the run to translate (default: test)")
    add("--src", metavar="FILE", help="translate these lines instead; needs --ref")
    add("--ref", metavar="FILE", nargs="+", action="extend", help=references)
    add("--data", metavar="FILE", help="translate the pairs of this table instead, or of two files by their prefix")
    options.add_table(parser)
    options.add_search(parser)
    add("--tokenize", metavar="NAME", help="sacrebleu's tokenizer for BLEU (default: evaluation.bleu_tokenize)")
    add("--lowercase", action="store_true", help="ignore upper and lower case")
    add("--report", metavar="FILE", help="write an .html page too: the worst lines, scores by length and rarest word")
    options.add_shared(parser, "--json")


def run(args: argparse.Namespace) -> None:
    """Translate, measure, keep the results in the run folder, and print them."""
    from seq2seq.data.dataset import form_of, training_text
    from seq2seq.evaluation.evaluate import (
        can_keep,
        corpus_texts,
        evaluate,
        file_texts,
        name_of_file,
        save_evaluation,
    )
    from seq2seq.evaluation.report import save_report
    from seq2seq.files import is_folder
    from seq2seq.runs.run import Run
    from seq2seq.text.normalize import normalize

    if bool(args.src) != bool(args.ref):
        raise UserError("--src and --ref go together: the lines to translate and their reference translations")

    options.check_data(args, args.src)
    if args.report and not args.report.lower().endswith(".html"):
        raise UserError(f"--report {args.report}: the report is an .html page; give the file this ending")
    if args.report and not is_folder(Path(args.report).absolute().parent):
        raise UserError(f"--report {args.report}: there is no folder {Path(args.report).parent}; make it first")

    # check that the results can be kept, before the work
    folder, file = Run.open(args.run), args.src or args.data
    name = name_of_file(file or args.split, args.others) if file or args.others else args.split
    unkept = can_keep(folder, name)

    # translate and measure two files, a table, or a split of the run's data
    form = options.read_form(args, form_of(folder.config()))
    if args.data:
        texts = corpus_texts(args.data, form)
    else:
        texts = file_texts(args.src, args.ref, form) if args.src else _texts_of_split(folder, args.split)
    if not texts.sources:
        raise UserError(f"{args.src}: empty; there is nothing to measure")
    translator = console.load_translator(
        args.run, args.batch_size, args.shortlist, args.device, args.precision, args.others
    )
    tokenize = args.tokenize or folder.config().evaluation.bleu_tokenize
    evaluation = evaluate(translator, *texts, beam=args.beam, tokenize=tokenize, lowercase=args.lowercase, mbr=args.mbr)

    # keep, then print
    if not unkept:
        save_evaluation(folder, name, evaluation)
    if args.json:
        write(json.dumps(evaluation.as_dict()) + "\n")
    else:
        print_evaluation(Path(file).name if file else args.split, evaluation)
    if args.report:
        title = f"{folder.path.resolve().name}: {Path(file).name if file else args.split}"
        training = (normalize(src) for src, _ in training_text(folder.config()))
        save_report(Path(args.report), title, evaluation, translator.tokenizers, training)
    if unkept:
        logging.getLogger("seq2seq").warning(unkept)


def _texts_of_split(folder: "Run", split: str) -> "Texts":
    from seq2seq.evaluation.evaluate import split_texts

    try:
        return split_texts(folder, split)
    except UserError as error:
        raise UserError(f"{error}; give another with --split or --data, or two files with --src and --ref") from None


def print_evaluation(name: str, evaluation: "Evaluation") -> None:
    """Print each measure with its interval and the signature that says how it was computed."""
    from seq2seq.evaluation.measures import SAMPLES

    say("", f"{name}: {evaluation.sentences:,} sentences in {evaluation.seconds:.1f} s")
    for label, measure in evaluation.measures().items():
        low, high = measure.interval or (measure.score, measure.score)
        say(f"  {label:<12}{measure.score:6.2f}  {f'[{low:.2f}, {high:.2f}]':<16}  {measure.signature}")
    say(f"  in brackets: 95 % of the scores of {SAMPLES:,} sets of as many lines, drawn from these")
    say(*(f"  {note}" for note in evaluation.notes))
