"""Translate text: one line out for every line in. On a terminal, without --input, this is a session: type a sentence
to see its translation. Standard error says how many lines the model is unsure of; --json says which, and why.
"""

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

from seq2seq.commands import console, options
from seq2seq.errors import UserError

if TYPE_CHECKING:
    from seq2seq.decoding.translation import Options
    from seq2seq.decoding.translator import Translator

log = logging.getLogger("seq2seq")

HELP = "translate lines of text, or in a session on a terminal"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what to translate, how, and what to print."""
    options.add_shared(parser, "run", "others", "--input", "--output")
    column = "translate this column of a table (.tsv, .csv, .txt, .jsonl), by number or by name in its header"
    parser.add_argument("--column", metavar="NAME", help=column)
    options.add_search(parser)
    nbest = "print the N best translations of each line: `line number ||| translation ||| normalized score`"
    add = parser.add_argument
    add("--nbest", type=int, default=1, metavar="N", help=nbest)
    split = "translate each sentence of a line by itself (default: if most lines of the training text are one sentence)"
    add("--json", action="store_true", help="print one JSON object per line, with scores and tokens")
    add("--split", action=argparse.BooleanOptionalAction, help=split)
    add("--attention", action="store_true", help="with --json or in a session: the attention weights")

    # what the translations must be like
    prefix = "the text that each translation begins with; it may end within a word, unless a space follows it"
    ban = "a word or phrase that no translation holds; --ban may be repeated"
    alpha = "exponent of the length penalty, from 0 to 10 (default: search.length_penalty of the run's config)"
    add("--prefix", metavar="TEXT", help=prefix)
    add("--ban", metavar="TEXT", action="append", default=[], help=ban)
    add("--length-penalty", type=float, metavar="A", help=alpha)

    # random translations
    temperature = "with --sample: below 1, likely tokens are drawn more often; above 1, less often (default: 1)"
    top_p = "with --sample: draw from the smallest set of tokens whose probabilities sum to P (default: 1)"
    add = parser.add_argument_group("random translations").add_argument
    add("--sample", action="store_true", help="draw translations at random instead of searching")
    add("--temperature", type=float, default=1.0, metavar="T", help=temperature)
    add("--top-k", type=int, default=0, metavar="K", help="with --sample: draw from the K most likely tokens")
    add("--top-p", type=float, default=1.0, metavar="P", help=top_p)
    add("--seed", type=int, metavar="N", help="with --sample: the random seed (default: 1)")


def run(args: argparse.Namespace) -> None:
    """Open a session on a terminal; otherwise translate all lines of the input."""
    from seq2seq.decoding.translation import Options, Sampling
    from seq2seq.runs.metrics import weakness
    from seq2seq.runs.run import Run

    translator = console.load_translator(
        args.run, args.batch_size, args.shortlist, args.device, args.precision, args.others
    )
    if args.split is not None:
        translator.sentences = translator.sentences.model_copy(update={"single": args.split})

    # check the options
    for name, text in [("--prefix", args.prefix or ""), *(("--ban", text) for text in args.ban)]:
        console.check_utf8(name, text)
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty() and not (args.input or args.output or args.json)
    if args.attention and not (args.json or on_terminal):
        raise UserError("--attention needs --json, or a session: a line of text has no room for a matrix")
    if args.sample and (args.nbest > 1 or args.beam is not None):
        raise UserError("--sample draws one translation of each line; leave --nbest and --beam out")
    if not args.sample and (args.temperature, args.top_k, args.top_p, args.seed) != (1.0, 0, 1.0, None):
        raise UserError("--temperature, --top-k, --top-p and --seed are for --sample; add it")
    seed = 1 if args.seed is None else args.seed
    sampling = Sampling(args.temperature, args.top_k, args.top_p, seed) if args.sample else None
    asked = Options(
        args.beam, args.nbest, args.length_penalty, sampling, args.split, args.prefix, None, tuple(args.ban), args.mbr
    )
    translator.check(asked)

    # a session, or all lines; the session says by itself that a model is weak
    if on_terminal:
        from seq2seq.serving.session import session

        to_file = partial(_translate_all, translator, args)
        session(Run.open(args.run), translator, asked, attention=args.attention, to_file=to_file)
    else:
        _translate_all(translator, args, args.input, args.output, asked)
        with suppress(UserError):  # damaged metrics are no reason to fail when all is translated
            if weak := weakness(Run.open(args.run).best_scores() or {}):
                log.warning("%s: %s", args.run, weak)


def _translate_all(
    translator: "Translator", args: argparse.Namespace, source: str | None, target: str | None, asked: "Options"
) -> None:
    """Translate the lines of a file into another one; None is a standard stream."""
    # a pipe gets its answers batch by batch; of a file, 16 batches are sorted by length together, which saves padding
    console.check_output_is_not_input(source, target)
    size = translator.search.batch_size * (16 if source and not asked.sampling else 1)
    batches = console.read_batches(source, size, args.column)
    console.write_output(target, _translate(translator, batches, asked, args))


def _translate(
    translator: "Translator", batches: Iterable[list[str]], asked: "Options", args: argparse.Namespace
) -> Iterator[str]:
    """Yield what to print for each line, in order: JSON, an n-best list or plain text. At the end, log the doubts."""
    number, doubts = 0, Counter[str]()
    for lines in batches:
        # other random numbers for each batch
        drawn = asked.sampling and replace(asked.sampling, seed=(asked.sampling.seed + number) % 2**63)
        options = replace(asked, sampling=drawn)
        for translation in translator.translate(lines, attention=args.json, **vars(options)):
            doubts.update([translation.unsure] if translation.unsure else [])
            if args.json:
                hidden = () if args.attention else ("attention",)
                keys = {key: value for key, value in asdict(translation).items() if key not in hidden}
                yield json.dumps(keys, ensure_ascii=False) + "\n"
            elif asked.nbest == 1:
                yield translation.text + "\n"
            else:
                yield f"{number} ||| {translation.text} ||| {translation.normalized_score:.4f}\n"
                for other in translation.alternatives:
                    yield f"{number} ||| {other.text} ||| {other.normalized_score:.4f}\n"
            number += 1

    # count the doubts by reason, without the words that are named in one
    reasons = Counter(doubt.partition(":")[0] for doubt in doubts.elements())
    if reasons:
        counted = (f"unsure ({reason}): {count:,} of {number:,} lines" for reason, count in reasons.most_common())
        log.warning("; ".join(counted))
