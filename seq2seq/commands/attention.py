"""Translate a sentence and show, for each token of the translation, which source tokens the model looked at: as a
picture in the terminal, as a picture or a page in a file, or as JSON with all weights. With --tgt, show where it looks
while it writes a given translation.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.commands import console, options
from seq2seq.errors import UserError, printable
from seq2seq.streams import say

if TYPE_CHECKING:
    from seq2seq.decoding.looking import Look
    from seq2seq.plots import AttentionMap

HELP = "show what the model looks at while it translates"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what to look at, and how to show it."""
    options.add_shared(parser, "run")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("text", metavar="TEXT", nargs="?", help="a source sentence")
    source.add_argument("--src", metavar="TEXT", help="a source sentence whose translation is given by --tgt")
    source.add_argument("--input", metavar="FILE", help="source sentences, one per line")
    output = "a .png or .svg picture of TEXT, an .html page to explore it, a .txt file, or with --json any file"
    add = parser.add_argument
    add("--output", metavar="FILE", help=f"{output} (default: standard output)")
    add("--json", action="store_true", help="one JSON object per sentence: its translation, tokens and all weights")
    add("--tgt", metavar="TEXT", help="with --src: its translation, which the model is made to write")
    options.add_shared(parser, "--by")
    add("--words", action="store_const", const="word", dest="by", help="the same as --by word")
    head = "one head, from 1 on; mean or all (default: mean, and beside it in text the heads that it hides)"
    add("--head", metavar="N", help=head)
    add("--encoder", action="store_true", help="the encoder's self-attention instead of the decoder's attention")
    options.add_shared(parser, "--beam", "--device")


def run(args: argparse.Namespace) -> None:
    """Look at one sentence or at those of a file."""
    from seq2seq.decoding.forced import look_at_pairs
    from seq2seq.decoding.translation import Options
    from seq2seq.plots import save_attention, save_page
    from seq2seq.runs.run import Run

    # check the options before the output is opened
    ending = Path(args.output or "").suffix.lower()
    is_page, is_drawn = ending == ".html", ending in (".png", ".svg", ".html")
    if args.output and not is_drawn and not args.json and ending != ".txt":
        raise UserError(f"--output {args.output}: write a .png, .svg, .html or .txt file, or add --json")
    if is_drawn and (args.json or args.input is not None):
        raise UserError(f"--output {args.output} shows one TEXT: leave --json and --input out, or name another file")
    if (args.src is None) != (args.tgt is None):
        raise UserError("--src and --tgt go together: a source sentence and its translation")
    if args.tgt is not None and args.beam is not None:
        raise UserError("--beam is for a search; with --tgt the translation is given: leave it out")
    console.check_output_is_not_input(args.input, args.output)
    text = args.text if args.src is None else args.src
    for name, value in (("TEXT", text), ("--tgt", args.tgt)):
        console.check_utf8(name, value or "")

    # check that the model has what they ask for; a page shows whatever there is
    translator = console.load_translator(args.run, device=args.device)
    has_self_attention = bool(translator.encoder_heads)
    if args.encoder and not has_self_attention:
        keys = "model.encoder.type=self_attention or model.encoder.self_attention_layers=1"
        raise UserError(f"--encoder: this model's encoder has no self-attention; train one with {keys}")
    if not args.encoder and not (is_page and has_self_attention):
        console.check_attention(translator, "; add --encoder to see its self-attention" if has_self_attention else "")
    heads = translator.encoder_heads if args.encoder else translator.decoder_heads
    console.check_head(args.head or "mean", heads, ("mean", "all"))
    translator.check(Options(beam=args.beam))

    # the sentences of a file
    if args.input is not None:
        batches = console.read_batches(args.input, translator.search.batch_size)
        looks = (look for lines in batches for look in translator.look(lines, Options(beam=args.beam)))
        end = "\n" if args.json else "\n\n"
        console.write_output(args.output, (_describe(look, args) + end for look in looks), is_printable=not args.json)
        return

    # one sentence
    if args.tgt is None:
        (look,) = translator.look([text], Options(beam=args.beam))
        if not look.translation.source_tokens:
            raise UserError("TEXT is empty: there is nothing to look at")
    else:
        (look,) = look_at_pairs(translator, [text], [args.tgt])
        if not look.translation.tokens:
            raise UserError("--src or --tgt is empty: there is nothing to look at")
    if not is_drawn:
        console.write_output(args.output, [_describe(look, args) + "\n"], is_printable=not args.json)
        return
    if is_page:
        data = Run.open(args.run).config().data
        languages = (data.src, data.tgt)
        save_page(Path(args.output), text, look.translation.text, look.decoder, look.encoder, languages)
    elif map := _select(look, args):
        save_attention(Path(args.output), map, rows="source (queries)" if args.encoder else "translation")
    say(look.translation.text)


def _select(look: "Look", args: argparse.Namespace) -> "AttentionMap | None":
    """Select the weights that the options ask for; return None for an empty line."""
    map = look.encoder if args.encoder else look.decoder
    is_text = not args.json and Path(args.output or "x.txt").suffix.lower() == ".txt"
    map = map and map.select(args.head or ("auto" if is_text else "mean"))
    return map.words() if map and args.by == "word" else map


def _describe(look: "Look", args: argparse.Namespace) -> str:
    """Describe a sentence in JSON, or as its translation above a picture; an empty line gives `null` or nothing."""
    from seq2seq.plots import Screen, terminal_attention

    # on a terminal the picture has colors, and the translation nothing that controls it
    map = _select(look, args)
    if map is None:
        return "null" if args.json else ""
    if not args.json:
        screen = Screen.in_use() if args.output is None else Screen(Screen.in_use().width)
        text = look.translation.text if screen.height is None else printable(look.translation.text)
        return f"{text}\n\n{terminal_attention(map, screen)}"
    keys = {"translation": look.translation.text, "rows": map.rows, "columns": map.columns, "heads": map.heads}
    return json.dumps(keys | {"weights": map.weights.round(6).tolist()}, ensure_ascii=False)
