"""The measures of translations, and their intervals: sacrebleu's BLEU, chrF, TER, exact match, character error rate.

Each measure counts something on every line, such as the words in a row that a reference has too, and its score is a
function of the sums. A bootstrap (Koehn 2004) draws as many lines as the set has, with replacement, and scores them:
the interval that holds 95 % of such scores says how much a score owes to the choice of the lines.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from rapidfuzz.distance import Levenshtein
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric

from seq2seq.shapes import Float64

SAMPLES = 1000  # of a bootstrap
SEED = 12345  # of a bootstrap, as in sacrebleu


@dataclass(frozen=True)
class Measure:
    """A score in percent, with its exact definition: sacrebleu's signature, or words."""

    score: float
    signature: str
    interval: tuple[float, float] | None = None  # holds 95 % of the scores of a bootstrap


class Counts(NamedTuple):
    """The numbers that a measure counts on each line, and the function that makes a score of their sums."""

    numbers: Float64[np.ndarray, "lines numbers"]
    score: Callable[[Float64[np.ndarray, " numbers"]], float]
    signature: str

    def measure(self) -> Measure:
        """Return the score of all lines, without an interval."""
        return Measure(float(self.score(self.numbers.sum(axis=0))), self.signature)

    def interval(self) -> tuple[float, float]:
        """Return the interval that holds 95 % of the scores of a bootstrap.

        The samples are those of sacrebleu, but drawn one by one: all at once may fill the memory.
        """
        generator, lines = np.random.default_rng(SEED), len(self.numbers)
        draws = (np.bincount(generator.integers(0, lines, lines), minlength=lines) for _ in range(SAMPLES))
        scores = sorted(float(self.score(times @ self.numbers)) for times in draws)
        return scores[SAMPLES // 40], scores[-1 - SAMPLES // 40]


def measure(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], lowercase: bool, bleu: BLEU | None = None
) -> dict[str, Measure]:
    """Return `bleu` (with the given settings), `chrf`, `exact_match` and `cer`, without intervals.

    Where a line has several references, a blank one is no reference.
    """
    return {name: counts.measure() for name, counts in count_all(hypotheses, references, lowercase, bleu).items()}


def count_all(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    lowercase: bool,
    bleu: BLEU | None = None,
    with_ter: bool = False,
) -> dict[str, Counts]:
    """Return what each measure counts; arguments are those of `measure`. TER, which is slow, is counted when asked."""
    metrics = {"bleu": bleu or BLEU(lowercase=lowercase, force=True), "chrf": CHRF(lowercase=lowercase)}
    metrics |= {"ter": TER(case_sensitive=not lowercase)} if with_ter else {}
    found = {name: _count_by_sacrebleu(metric, hypotheses, references) for name, metric in metrics.items()}

    # whether a hypothesis equals a reference; the Levenshtein distance to the nearest reference, and its length
    hits, edits = [], []
    for hypothesis, *lines in zip(hypotheses, *references, strict=True):
        options = [line for line in lines if line] or [""]
        if lowercase:
            hypothesis, options = hypothesis.lower(), [option.lower() for option in options]
        hits.append((hypothesis in options, 1))
        distance, nearest = min((Levenshtein.distance(hypothesis, option), option) for option in options)
        edits.append((distance, len(nearest)))
    case = ", lowercased" * lowercase
    found["exact_match"] = Counts(np.array(hits, float), _percent, f"share of lines equal to a reference{case}")
    found["cer"] = Counts(np.array(edits, float), _percent, f"character edits / reference characters{case}")
    return found


def _percent(sums: Float64[np.ndarray, " 2"]) -> float:
    return 100 * sums[0] / max(sums[1], 1)


def _count_by_sacrebleu(metric: Metric, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Counts:
    given: list[Any] = [[line or None for line in lines] for lines in references]  # None: no reference
    given[0] = [first if any(lines) else "" for first, *lines in zip(given[0], *given, strict=True)]
    numbers = np.array(metric._extract_corpus_statistics(hypotheses, given), float)
    return Counts(numbers, lambda sums: metric._compute_score_from_stats(list(sums)).score, str(metric.get_signature()))
