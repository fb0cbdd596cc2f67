"""Translate text and write word alignments for other tools instead of the translations, one line per sentence, in
Pharaoh format: `1-2` means that word 2 of the translation looks at word 1 of the source most. Words count from 0. With
--data, align given translations; with --by token, link tokens, which `translate --json` and `score --json` show.
"""

import argparse
import logging
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

from seq2seq.commands import console, options
from seq2seq.errors import UserError

if TYPE_CHECKING:
    from seq2seq.decoding.attention_map import AttentionMap

HELP = "write word alignments of translations, or of given pairs, in Pharaoh format"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the lines to align, and the head to align them by."""
    options.add_shared(parser, "run", "--input", "--output")
    parser.add_argument("--head", metavar="N", default="mean", help="one head, from 1 on; or mean (the default)")
    pairs = "align these pairs: a table, or two files by their prefix, as in data.train"
    parser.add_argument("--data", metavar="FILE", help=pairs)
    options.add_table(parser)
    options.add_shared(parser, "--by", "--beam", "--device")


def run(args: argparse.Namespace) -> None:
    """Write one line of links for every line of the input."""
    # check the options and read the first lines before the output is opened
    from seq2seq.data.dataset import form_of
    from seq2seq.data.formats import corpus_files, explain_first_row, stream_pairs
    from seq2seq.decoding.forced import look_at_pairs
    from seq2seq.decoding.translation import Options
    from seq2seq.runs.run import Run

    if args.data and (args.input or args.beam is not None):
        raise UserError("--data gives lines and their translations: leave --input and --beam out")
    options.check_data(args, None)
    form = options.read_form(args, form_of(Run.open(args.run).config()))
    files = corpus_files(args.data, form.src, form.tgt) if args.data else [args.input]
    for file in files:
        console.check_output_is_not_input(file, args.output, "--data" if args.data else "--input")
    translator = console.load_translator(args.run, device=args.device)
    console.check_attention(translator)
    console.check_head(args.head, translator.decoder_heads, ("mean",))
    translator.check(Options(beam=args.beam))

    if args.data:
        if header := explain_first_row(args.data, form):
            logging.getLogger("seq2seq").warning(header)
        size, pairs = translator.search.batch_size, stream_pairs(args.data, *form)
        batches = chain([list(islice(pairs, size))], iter(lambda: list(islice(pairs, size)), []))
        looks = (look for rows in batches for look in look_at_pairs(translator, *zip(*rows, strict=True)))
    else:
        lines = console.read_batches(args.input, translator.search.batch_size)
        looks = (look for batch in lines for look in translator.look(batch, Options(beam=args.beam)))
    maps = (look.decoder and look.decoder.select(args.head) for look in looks)
    console.write_output(args.output, (f"{link}\n" for link in link_lines(maps, args.by)))


def link_lines(maps: "Iterable[AttentionMap | None]", by: str | None) -> Iterator[str]:
    """Yield the links of each map, by word unless said otherwise; warn of spelled words."""
    spelled = 0
    for map in maps:
        spelled += by is None and map is not None and map.has_spelled_word()
        yield map.pharaoh(by or "word") if map else ""
    if spelled:
        lines = f"{spelled:,} {'line has' if spelled == 1 else 'lines have'}"
        logging.getLogger("seq2seq").warning("%s one word, spelled in letters: --by token links the letters", lines)
