"""Measure whether the encoder's self-attention knows what "it" stands for.

In "The cat ate the fish because it was hungry." a head is right if "it" gives more weight to "cat" than to "fish". The
sentences are annotated in `data/toy/dev.it.tsv` and `test.it.tsv`. The head that is right most often on dev is chosen;
the result is its share on test, which had no influence on the choice.

    python scripts/measure_pronouns.py runs/NAME [--split dev] [--picture it.png]
"""

import argparse
import sys
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seq2seq.data.lines import stream_lines
from seq2seq.decoding.translation import Options
from seq2seq.decoding.translator import Translator
from seq2seq.errors import UserError
from seq2seq.evaluation.evaluate import split_texts
from seq2seq.plots import AttentionMap, save_attention
from seq2seq.runs.run import Run


class Row(NamedTuple):
    """The annotation of a sentence: a line of `.it.tsv`."""

    line: int  # the line of the corpus, from 1
    it: int  # the position of "it" among words between spaces, from 0; so are the next two
    antecedent: int
    other: int  # another noun that "it" could stand for


class Head(NamedTuple):
    """The result of a head."""

    name: str
    share: float  # percent of the sentences in which "it" gives the antecedent more weight than the other noun
    antecedent: float  # the mean weight from "it" to the antecedent
    other: float  # the mean weight to the other noun


def measure(maps: Sequence[AttentionMap], rows: Sequence[Row]) -> list[Head]:
    """Return the result of each head; equal weights are not right. Rows and columns of a map are the same sentence."""
    pairs = [(sentence.words().weights[:, row.it], row) for sentence, row in zip(maps, rows, strict=True)]
    antecedent = np.array([weights[:, row.antecedent] for weights, row in pairs])  # sentence, head
    other = np.array([weights[:, row.other] for weights, row in pairs])
    columns = (100 * (antecedent > other).mean(0), antecedent.mean(0), other.mean(0))
    return [Head(name, *map(float, numbers)) for name, *numbers in zip(maps[0].heads, *columns, strict=True)]


def choose(heads: Sequence[Head]) -> int:
    """Return the index of the head with the largest share, the first of equals."""
    return max(range(len(heads)), key=lambda index: heads[index].share)


def read_rows(path: Path, texts: Sequence[str]) -> list[Row]:
    """Read the annotation of a corpus.

    Raises:
        UserError: the file cannot be read or is empty, or a row is not four numbers or does not point at "it".
    """
    rows = []
    for number, line in enumerate(stream_lines(path), start=1):
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
    """Return the encoder's self-attention for each sentence.

    Raises:
        UserError: the encoder has no self-attention, or the tokenizer does not split words at spaces.
    """
    maps = []
    for text, seen in zip(texts, translator.look(texts, Options(beam=1)), strict=True):
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
    """Read the annotation beside the files of a split, and compute the attention of its sentences."""
    corpus, _ = split_texts(run, split)
    rows = read_rows(Path(f"{getattr(run.config().data, split)}.it.tsv"), corpus)
    texts = [corpus[row.line - 1] for row in rows]
    return Sentences(texts, look(translator, texts), rows)


def report(run: Run, splits: Sequence[str], picture: Path | None) -> None:
    """Print all heads on dev, and the best of them on the splits beside chance; draw the first sentence of test.

    Of 20 heads that guess, 19 are within the +-, but not the best of many heads, which is chosen on dev.
    """
    # look
    translator = Translator.load(run.path)
    needed = dict.fromkeys(["dev", *splits, *(["test"] if picture else [])])
    found = {split: sentences(run, translator, split) for split in needed}
    heads = measure(found["dev"].maps, found["dev"].rows)
    best = choose(heads)

    # all heads on dev
    print(f'What "it" looks at in {len(found["dev"].rows)} sentences of dev\n')
    print(f"{'head':<18}{'right':>8}{'weight on its noun':>22}{'on the other':>16}")
    for head in heads:
        print(f"{head.name:<18}{head.share:6.1f} %{head.antecedent:22.3f}{head.other:16.3f}")

    # the best head
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
    """Return the exit code: 2, after one line, for a user's mistake."""
    parser = argparse.ArgumentParser(description='Measure whether the encoder knows what "it" stands for.')
    parser.add_argument("run", metavar="RUN", help="a run folder, made by train, from English, with self-attention")
    parser.add_argument("--split", choices=("dev", "test"), action="append", help="where to measure (default: both)")
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
