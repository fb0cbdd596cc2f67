"""Measure whether the encoder's self-attention knows what "it" stands for.

In "The cat ate the fish because it was hungry." a head is right when "it" gives more weight to "cat" than to "fish".
The sentences are those that `data/toy/dev.it.tsv` and `test.it.tsv` annotate. The head that is right most often on dev
is chosen, and its share on test is the result: test had no say in the choice.

    python scripts/measure_pronouns.py runs/NAME [--split dev] [--picture it.png]
"""

import argparse
import sys
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seq2seq.data.formats import read_lines
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import split_texts
from seq2seq.plots import AttentionMap, save_attention
from seq2seq.runs.run import Run


class Row(NamedTuple):
    """What `.it.tsv` says of a sentence."""

    line: int  # of the corpus, from 1
    it: int  # words between spaces, from 0
    antecedent: int
    other: int  # the noun that "it" could stand for and does not


class Head(NamedTuple):
    """How a head did."""

    name: str
    share: float  # of the sentences where "it" gives the antecedent more weight than the other noun, in percent
    antecedent: float  # the mean weight from "it" to the antecedent
    other: float  # and to the other noun


def measure(maps: Sequence[AttentionMap], rows: Sequence[Row]) -> list[Head]:
    """Each head, in the order of the maps; equal weights are not right. A map's rows and columns are the sentence."""
    pairs = [(sentence.words().weights[:, row.it], row) for sentence, row in zip(maps, rows, strict=True)]
    antecedent = np.array([weights[:, row.antecedent] for weights, row in pairs])  # sentence, head
    other = np.array([weights[:, row.other] for weights, row in pairs])
    columns = (100 * (antecedent > other).mean(0), antecedent.mean(0), other.mean(0))
    return [Head(name, *map(float, numbers)) for name, *numbers in zip(maps[0].heads, *columns, strict=True)]


def choose(heads: Sequence[Head]) -> int:
    """The index of the head with the largest share, of equals the first."""
    return max(range(len(heads)), key=lambda index: heads[index].share)


def read_rows(path: Path, texts: Sequence[str]) -> list[Row]:
    """The annotation of a corpus.

    Raises:
        UserError: a file that cannot be read or is empty, or a row that is not four numbers or points at no "it".
    """
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            row = Row(*map(int, line.split("\t")))
            found, _, _ = (texts[row.line - 1].split()[index] for index in row[1:])
        except (ValueError, TypeError, IndexError):
            raise UserError(f"{path}:{number}: {line!r} does not fit the corpus; make both files again") from None
        if found != "it":
            raise UserError(f'{path}:{number}: points at "{found}", not at "it"; the source must be the English side')
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: empty; there is nothing to measure")
    return rows


def look(translator: Translator, texts: Sequence[str]) -> list[AttentionMap]:
    """The encoder's self-attention of each sentence.

    Raises:
        UserError: the encoder has none, or the tokenizer's words are not those between spaces.
    """
    maps = []
    for text, seen in zip(texts, translator.look(texts, beam=1), strict=True):
        if seen.encoder is None:
            raise UserError("the run's encoder has no self-attention: there is nothing to measure")
        words = seen.encoder.words().columns[:-1]
        if len(words) != len(text.split()):
            raise UserError(f"the run's tokenizer makes {len(words)} words of {text!r}; take one that splits at spaces")
        maps.append(seen.encoder)
    return maps


class Sentences(NamedTuple):
    """The annotated sentences of a split of the run's data, in the order of the rows."""

    texts: list[str]
    maps: list[AttentionMap]
    rows: list[Row]


def sentences(run: Run, translator: Translator, split: str) -> Sentences:
    """Read the annotation that stands beside the split's files, and look at its sentences."""
    corpus, _ = split_texts(run, split)
    rows = read_rows(Path(f"{getattr(run.config().data, split)}.it.tsv"), corpus)
    texts = [corpus[row.line - 1] for row in rows]
    return Sentences(texts, look(translator, texts), rows)


def report(run: Run, splits: Sequence[str], picture: Path | None) -> None:
    """Print all heads on dev, the best of them on the splits, and what chance is; draw the first sentence of test.

    Of 20 heads that toss a coin 19 are within the +-, unless they were chosen for it, as on dev.
    """
    translator = Translator.load(run.path)
    needed = dict.fromkeys(["dev", *splits, *(["test"] if picture else [])])
    found = {split: sentences(run, translator, split) for split in needed}
    heads = measure(found["dev"].maps, found["dev"].rows)
    best = choose(heads)
    print(f'What "it" looks at in {len(found["dev"].rows)} sentences of dev\n')
    print(f"{'head':<18}{'right':>8}{'weight on its noun':>22}{'on the other':>16}")
    for head in heads:
        print(f"{head.name:<18}{head.share:6.1f} %{head.antecedent:22.3f}{head.other:16.3f}")
    print(f"\nThe best on dev, {heads[best].name}, is right in")
    for split in splits:
        rows = found[split].rows
        share = measure(found[split].maps, rows)[best].share
        subject = 100 * sum(row.antecedent < row.other for row in rows) / len(rows)
        chance = f"by chance 50 % +- {98 / sqrt(len(rows)):.1f}; always the subject: {subject:.1f} %"
        print(f"  {split:<5} {share:.1f} % of {len(rows)} sentences ({chance})")
    if picture:
        save_attention(picture, found["test"].maps[0].words().head(best), rows="source, looking")
        print(f"\n{picture}: {found['test'].texts[0]}")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 2 and one line for a user's mistake."""
    parser = argparse.ArgumentParser(description='Measure whether the encoder knows what "it" stands for.')
    parser.add_argument("run", metavar="RUN", help="a run folder, made by train, from English, with self-attention")
    parser.add_argument(
        "--split",
        choices=("dev", "test"),
        action="append",
        help="where to measure the head chosen on dev (default: both)",
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the first sentence of test, .png or .svg")
    args = parser.parse_args(argv)
    try:
        report(Run.open(args.run), args.split or ("dev", "test"), args.picture)
    except UserError as error:
        print(f"measure_pronouns: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
