"""Make a back-translated corpus of captions look like the files `lc.norm.tok` of Multi30k.

Each line becomes lower case, its punctuation is normalized, and Moses' rules cut it into tokens (`pip install
sacremoses`). Captions often lack the full stop that translations have; without one, a line gets it on both sides. Pairs
with a side of fewer than three tokens are left out.

    python scripts/tokenize_captions.py data/back data/multi30k/captions --src en --tgt de
"""

import argparse
from collections.abc import Callable

LEAST = 3  # tokens of a side


def tokenizer(language: str) -> Callable[[str], str]:
    """Return a function from a raw line to its lowercased, normalized and tokenized form, with `&apos;` for '."""
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    normalizer, moses = MosesPunctNormalizer(language), MosesTokenizer(language)
    return lambda line: str(moses.tokenize(normalizer.normalize(line.lower()), return_str=True))


def end_with_a_stop(line: str) -> str:
    """Return a tokenized line that ends in `.`, `!` or `?`."""
    return line if line[-1:] in (".", "!", "?") else line.rstrip(" ,;:") + " ."


def main() -> None:
    """Read PREFIX.src and PREFIX.tgt, and write OUTPUT.src and OUTPUT.tgt."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("prefix")
    parser.add_argument("output")
    parser.add_argument("--src", default="en", metavar="CODE")
    parser.add_argument("--tgt", default="de", metavar="CODE")
    args = parser.parse_args()

    # read the two sides
    sides = []
    for code in (args.src, args.tgt):
        tokenize = tokenizer(code)
        with open(f"{args.prefix}.{code}", encoding="utf-8") as file:
            sides.append([tokenize(line.rstrip("\n")) for line in file])

    # write the pairs that are long enough
    kept = 0
    with open(f"{args.output}.{args.src}", "w") as src_file, open(f"{args.output}.{args.tgt}", "w") as tgt_file:
        for pair in zip(*sides, strict=True):
            if min(len(line.split()) for line in pair) >= LEAST:
                kept += 1
                for file, line in zip((src_file, tgt_file), pair, strict=True):
                    file.write(end_with_a_stop(line) + "\n")
    print(f"{kept:,} pairs of {len(sides[0]):,} are in {args.output}.{args.src} and .{args.tgt}")


if __name__ == "__main__":
    main()
