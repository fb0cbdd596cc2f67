"""Divide one file of sentence pairs into train, dev and test, and write a config that fits their number. Blank and
repeated pairs are left out, and no source and no target stands in two parts.
"""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.commands import options
from seq2seq.errors import UserError
from seq2seq.streams import say

if TYPE_CHECKING:
    from seq2seq.data.splitting import Division

HELP = "divide a file of pairs into train, dev and test, and write a config for them"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what to divide and how."""
    add = parser.add_argument
    add("data", metavar="FILE", help="a table (.tsv, .txt, .csv, .jsonl), or two files by their prefix")
    add("--src", required=True, metavar="CODE", help="source language, such as en")
    add("--tgt", required=True, metavar="CODE", help="target language, such as fr")
    options.add_table(parser)
    add("--dev", type=int, metavar="N", help="pairs of dev (default: a tenth of all, at most 1,000)")
    add("--test", type=int, metavar="N", help="pairs of test (default: as many as dev); 0: no test set")
    repeats = "keep pairs that are repeated: how often a word occurs in running text tells a model something"
    add("--keep-repeats", action="store_true", help=repeats)
    add("--out", type=Path, metavar="DIR", help="the folder to write (default: the name of FILE, without its ending)")
    add("--seed", type=int, default=1, metavar="N", help="another seed chooses other pairs (default: 1)")


def run(args: argparse.Namespace) -> None:
    """Divide, write, and say what was done and what can be done next."""
    from seq2seq.config.sizes import too_few
    from seq2seq.data.dataset import with_bar
    from seq2seq.data.formats import describe_table, stream_pairs, suspect_header
    from seq2seq.data.splitting import divide, write_division
    from seq2seq.data.tables import TABLES, Form, table_ending

    # check the options
    name = Path(args.data).name
    name = name[: -len(".gz")] if name.lower().endswith(".gz") else name
    out = args.out or Path(name[: len(name) - len(table_ending(name))])
    if (args.dev is not None and args.dev < 1) or (args.test is not None and args.test < 0):
        asked = " ".join(f"--{part} {n}" for part, n in (("dev", args.dev), ("test", args.test)) if n is not None)
        raise UserError(f"{asked}: dev needs at least 1 pair, and test at least 0")
    for option, code in (("--src", args.src), ("--tgt", args.tgt)):
        if not code or "/" in code or code.startswith(".") or f".{code}" in (*TABLES, ".gz"):
            raise UserError(f"{option} {code}: files are named by it, as train.{code}; write a code such as en")
    if args.src == args.tgt:
        names = f"such as {args.src}-old and {args.src} for old spelling"
        raise UserError(f"--src and --tgt are both {args.src}; give the sides two names, {names}")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserError(f"--out {out}: exists, and nothing is overwritten; give another folder, or delete it")

    # divide, and write
    form = options.read_form(args, Form(args.src, args.tgt))
    header, suspected = describe_table(args.data, form), suspect_header(args.data, form)
    division = divide(with_bar(stream_pairs(args.data, *form)), args.dev, args.test, args.seed, args.keep_repeats)
    config = write_division(out, with_bar(stream_pairs(args.data, *form)), form, division)

    # say what was done
    if header or suspected:
        say(header or f"{suspected}; first delete {out}, or give another --out")
    _describe(division, args)
    train = division.sizes()["train"]
    types = division.types or ()
    letters = ", which are words and are read letter by letter" * bool(types)
    signs = "; signs with spaces between them, such as phones, stay whole" * ("word" in types)
    say(f"{config}: a config with sizes that fit {train:,} pairs{letters}{signs}")
    if few := too_few(train):
        say(few)

    # and what can be done next
    say("", "Next:")
    for command in (["check", str(config)], ["train", str(config)], ["translate", f"runs/{config.stem}"]):
        say(f"  {shlex.join(['seq2seq', *command])}")


def _describe(division: "Division", args: argparse.Namespace) -> None:
    """Say what was read and left out, what looks wrong, and how large the parts are."""
    from seq2seq.text.languages import describe_exchange

    # what was read and left out
    read, repeated = len(division.part), division.repeated
    blank, kept = ("ones left out, ", "kept") if args.keep_repeats else ("and ", "left out")
    say(f"{read:,} pairs; {division.blank:,} blank {blank}{repeated:,} repeated ones {kept}")
    if repeated > read / 2 and not args.keep_repeats:
        say("most pairs are repeated: if they are the words of a text, --keep-repeats keeps how often each occurs")

    # what looks wrong
    if division.quoted:
        end = "let the name of the file end in .csv, where tabs are read too"
        say(f"{division.quoted:,} pairs still have the quotation marks of CSV: {end}")
    if division.common:
        count, line = division.common
        say(f"{count:,} different sources have one target, that of pair {line:,}: is it a placeholder, such as NA?")
    if exchanged := describe_exchange(division.scripts, (args.src, args.tgt)):
        say(f"{exchanged} Then delete what was written; give --columns 2,1, or exchange --src and --tgt")

    # the parts
    sizes = division.sizes()
    say(", ".join(f"{part} {size:,}" for part, size in sizes.items()))
    for part, wanted in (("dev", args.dev), ("test", args.test)):
        if wanted and sizes[part] < wanted:
            say(f"--{part} {wanted}: only {sizes[part]:,} pairs can be kept apart from all others")
    if division.by_source:
        say("no source stands in two of them; targets do, since most pairs are connected by equal targets")
    else:
        say("no source and no target stands in two of them")
