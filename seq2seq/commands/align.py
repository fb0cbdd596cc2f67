"""Translate text and write word alignments for other tools instead of the translations, one line per sentence, in
Pharaoh format: `1-2` means that word 2 of the translation looks at word 1 of the source most. Words count from 0.
"""

import argparse

from seq2seq.commands import console, options

HELP = "translate and write word alignments in Pharaoh format"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the lines to align, and the head to align them by."""
    options.add_shared(parser, "run", "--input", "--output")
    parser.add_argument("--head", metavar="N", default="mean", help="one head, from 1 on; or mean (the default)")
    options.add_shared(parser, "--beam")


def run(args: argparse.Namespace) -> None:
    """Write one line of links for every line of the input."""
    # check the options and read the first lines before the output is opened
    console.check_output_is_not_input(args.input, args.output)
    translator = console.load_translator(args.run)
    console.check_attention(translator)
    console.check_head(args.head, translator.decoder_heads, ("mean",))
    translator.checked_beam(args.beam)

    batches = console.read_batches(args.input, translator.search.batch_size)
    looks = (look for lines in batches for look in translator.look(lines, beam=args.beam))
    maps = (look.decoder and console.select_head(look.decoder, args.head) for look in looks)
    console.write_output(args.output, (f"{map.pharaoh() if map else ''}\n" for map in maps))
