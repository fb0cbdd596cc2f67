"""Translate a sentence and print, for one step, every equation of the lesson with the model's own numbers: the hidden
state h_t, the scores over the source, the attention weights, the context, the attentional state and the likeliest next
tokens; for self-attention queries, keys, values and what is made of them.
"""

import argparse
import json

from seq2seq.commands import console, options
from seq2seq.errors import UserError
from seq2seq.streams import say, write

HELP = "show one step of a translation, equation by equation, with the model's numbers"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the sentence, the step and the head."""
    options.add_shared(parser, "run")
    add = parser.add_argument
    add("text", metavar="TEXT", help="a source sentence")
    add("--step", type=int, default=1, metavar="N", help="the token of the translation to explain (default: 1)")
    add("--head", type=int, default=1, metavar="N", help="the head to follow, where there are several (default: 1)")
    add("--encoder", action="store_true", help="the encoder's self-attention; --step is then a token of the source")
    options.add_shared(parser, "--beam", "--json", "--device")


def run(args: argparse.Namespace) -> None:
    """Translate the sentence and explain the step."""
    from seq2seq.decoding.explaining import explain
    from seq2seq.decoding.translation import Options
    from seq2seq.plots.textbook import textbook_page

    console.check_utf8("TEXT", args.text)
    translator = console.load_translator(args.run, device=args.device)
    (look,) = translator.look([args.text], Options(beam=args.beam, split_sentences=False))
    try:
        found = explain(translator, args.text, look.ids, step=args.step, head=args.head, encoder=args.encoder)
    except UserError as error:
        names = ("step", "head")
        raise UserError(f"--{error}" if str(error).startswith(names) else str(error)) from None
    if args.json:
        sections = [
            {"title": section.title, "equations": [line._asdict() for line in section.lines]}
            for section in found.sections
        ]
        write(json.dumps(found._asdict() | {"sections": sections}, ensure_ascii=False) + "\n")
    else:
        say(*textbook_page(found).split("\n"))
