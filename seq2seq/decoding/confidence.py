"""The doubt of a translator: a translation is marked as unsure where a signal is lower than on nearly all of dev."""

import logging
import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, Field, model_validator

from seq2seq.decoding.engine import Outcome
from seq2seq.decoding.search import Hypothesis
from seq2seq.files import is_file, read_json
from seq2seq.runs.run import Run
from seq2seq.text.normalize import normalize
from seq2seq.text.tokenizer import EOS, Tokenizer, Tokenizers

log = logging.getLogger("seq2seq")

FALSE_ALARMS = 0.01  # share of dev that all signals together may mark
DEVIATIONS = 2.5  # a floor is at least so many standard deviations below the mean: of few lines the lowest says little
UNSEEN = 0.4  # the weight of a pair of tokens that was never seen, as in stupid backoff (Brants et al. 2007)
SHOWN_WORDS = 3  # unknown words that a reason names
SHOWN_FROM = 10_000  # characters of a text in which they are looked for


Natural = Annotated[int, Field(ge=0)]

STRANGE = "unlike the training text"
ALONE = {  # reasons where one signal is low, and no other
    "variety": "repeats itself",
    "brevity": "longer than the training text",
    "order": "words in an unusual order",
}


class Signals(NamedTuple):
    """The signals of one translation; each is low where something is strange.

    Attention that leaves source tokens out, the length ratio and the rarest token were measured too. They added
    nothing to these.
    """

    likelihood: float  # log-probability of the translation, a token
    familiarity: float  # mean log-frequency of the source tokens in the training text
    variety: float  # share of the translation's token pairs that differ from one another
    brevity: float  # minus the number of source tokens
    order: float  # how much more than at random neighboring source tokens stand together, compared with dev


class Confidence(BaseModel, strict=True, extra="forbid", frozen=True):
    """The floors of the signals, and how often the source tokens and their pairs occur in the training text."""

    floors: dict[Literal["likelihood", "familiarity", "variety", "brevity", "order"], float]
    counts: list[Natural]
    neighbors: list[Natural] = []  # pairs of neighboring tokens, as `dataset.count_neighbors` returns them
    neighbor_counts: list[Natural] = []
    information: float = 0.0  # mean pointwise mutual information of neighboring tokens of dev, in nats
    marked: dict[str, float]  # share of lines marked at calibration, by kind of line

    @model_validator(mode="after")
    def _each_pair_has_a_count(self) -> "Confidence":
        if len(self.neighbors) != len(self.neighbor_counts):
            raise ValueError("neighbors and neighbor_counts differ in length")
        return self

    @classmethod
    def calibrate(
        cls,
        counts: Sequence[int],
        neighbors: tuple[list[int], list[int]],
        dev: Sequence[tuple[list[int], Hypothesis]],
    ) -> "Confidence":
        """Set each floor so that it marks an equal share of `FALSE_ALARMS` of the dev translations."""
        pairs, pair_counts = neighbors
        blank = cls(floors={}, counts=list(counts), neighbors=pairs, neighbor_counts=pair_counts, marked={})
        usual = [each for source, _ in dev for each in blank._information(source)]
        blank = blank.model_copy(update={"information": fmean(usual)})
        floors = {}
        for name, found in zip(Signals._fields, zip(*(blank.signals(*each) for each in dev), strict=True), strict=True):
            lowest = sorted(found)[int(FALSE_ALARMS / len(Signals._fields) * (len(found) - 1))]
            floors[name] = min(lowest, fmean(found) - DEVIATIONS * pstdev(found))
        return blank.model_copy(update={"floors": floors})

    @classmethod
    def of_run(cls, run: Run, tokenizers: Tokenizers) -> "Confidence | None":
        """Read what was calibrated at the end of a training; None if nothing was, or for another vocabulary."""
        file = run.folder / "confidence.json"
        if not is_file(file):
            return None
        confidence = read_json(file, cls, "delete it: then no translation is marked as unsure")
        if len(confidence.counts) == len(tokenizers.src):
            return confidence
        log.warning("%s: of another vocabulary; no translation is marked", run.path / "confidence.json")
        return None

    def signals(self, source: list[int], hypothesis: Hypothesis) -> Signals:
        """Return the signals of a translation; `source` are token ids with `</s>`, at least one before it."""
        tokens = [*hypothesis.tokens, EOS]
        pairs = list(pairwise(tokens))
        frequencies = [(self.counts[i] + 0.5) / (self._total + 1) for i in source[:-1]]
        return Signals(
            likelihood=hypothesis.score / len(tokens),
            familiarity=fmean(map(math.log, frequencies)),
            variety=len(set(pairs)) / len(pairs) if pairs else 1.0,
            brevity=-float(len(source)),
            order=self._order(source),
        )

    @cached_property
    def _total(self) -> int:
        """How many source tokens were counted."""
        return sum(self.counts)

    @cached_property
    def _pairs(self) -> dict[int, int]:
        """How often each pair of neighboring tokens occurs."""
        return dict(zip(self.neighbors, self.neighbor_counts, strict=True))

    def _order(self, source: list[int]) -> float:
        """Return the sum of (i - mean of i on dev) / sqrt(tokens), i being the information of each pair of neighbors.

        The deviation of a sum grows with the square root of its terms: so short lines do not decide the floor.
        """
        found = self._information(source)
        return (sum(found) - self.information * len(found)) / math.sqrt(len(found))

    def _information(self, source: list[int]) -> list[float]:
        """Return log P(b | a) / P(b), the pointwise mutual information, of neighboring tokens a, b; the first a is EOS.

        P(b | a) of a pair that was never seen is `UNSEEN` P(b).
        """
        size = len(self.counts)

        def information(a: int, b: int) -> float:
            together = self._pairs.get(a * size + b, 0)
            apart = max(1, self.counts[a] * self.counts[b])
            return math.log(together * self._total / apart if together else UNSEEN)

        return [information(a, b) for a, b in pairwise([EOS, *source])]

    def low(self, source: list[int], hypothesis: Hypothesis) -> list[str]:
        """Return the names of the signals that are below their floors."""
        found = self.signals(source, hypothesis)._asdict()
        return [name for name, floor in self.floors.items() if found[name] < floor]

    def mark(self, text: str, outcome: Outcome, tokenizers: Tokenizers) -> Outcome:
        """Return the outcome of a search with the reason to doubt it, if there is one."""
        if not outcome.source:
            return outcome
        best = outcome.hypotheses[0]
        if text.strip() and not tokenizers.tgt.decode(best.tokens).strip():
            return outcome._replace(unsure="the translation is empty")
        return outcome._replace(unsure=self.doubt(text, outcome.source, best, tokenizers.src))

    def doubt(self, text: str, source: list[int], hypothesis: Hypothesis, tokenizer: Tokenizer) -> str | None:
        """Return the reason to doubt a translation, in words; None if there is none.

        Args:
            text: the raw sentence.
            source: its token ids, with `</s>`.
            hypothesis: its translation.
            tokenizer: the tokenizer of the source.
        """
        low = self.low(source, hypothesis)
        if not low:
            return None
        words = list(dict.fromkeys(normalize(text[:SHOWN_FROM]).split()))
        unknown = [word for word in words if any(not self.counts[i] for i in tokenizer.encode(word))]
        if 2 * len(unknown) > len(words):
            shown = ", ".join(word[:40] for word in unknown[:SHOWN_WORDS])
            return f"mostly unknown words: {shown}{', ...' if len(unknown) > SHOWN_WORDS else ''}"
        return ALONE.get(low[0], STRANGE) if len(low) == 1 else STRANGE
