"""Attention health: four numbers that say, without a picture, whether and how a model looks at its source.

The loss falls even if attention has failed and the decoder relies on its first state alone; these numbers show it. They
are measured on the dev set. S and T are the lengths of a sentence and its translation, `</s>` included; a_t is the
distribution of one head over the source positions i at target position t; positions count from 0. Weights that do not
sum to 1 (window local_p) are normalized first. A row of zeros (a model without attention) is left out.

    entropy       mean over t of -sum_i a_ti log a_ti / log S      0: one token; 1: all tokens alike; a window shorter
                                                                   than the sentence keeps it below 1
    coverage      mean over i, without `</s>`, of                  the share of the source that is looked at
                  min(1, sum_t a_ti), a_ti averaged over heads
    diagonality   sum_t x_t y_t / sum_t y_t^2, the slope of the    1: from first to last; -1: from last to first;
                  line that fits x best, with the middle of the    0: uniform, random, or always the same tokens
                  source and of the target at 0:
                  x_t = sum_i a_ti (i + 1/2) / S - 1/2
                  y_t = (t + 1/2) / T - 1/2
    eos           mean over t of a_ti at the source's `</s>`       the share that falls on no word
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq.shapes import Float, Float64, Int

Sums = Float64[Tensor, "4 2"]  # for each number of `Health`, in its order: the numerator and the denominator


class Health(NamedTuple):
    """The four numbers; the module's docstring defines them."""

    entropy: float
    coverage: float
    diagonality: float
    eos: float

    @classmethod
    def of(cls, sums: Sums) -> "Health | None":
        """Add up some `health_sums` and return the four numbers; None for a model without attention."""
        numerators, denominators = sums.unbind(1)
        return cls(*(numerators / denominators).tolist()) if denominators.all() else None

    def scores(self) -> dict[str, float]:
        """Return the numbers under the names in the log, `attention_entropy` and so on."""
        return {f"attention_{name}": value for name, value in self._asdict().items()}


def health_sums(
    weights: Float[Tensor, "batch head tgt src"], src_lengths: Int[Tensor, " batch"], tgt_lengths: Int[Tensor, " batch"]
) -> Sums:
    """Return the sums of a batch, on the CPU. Add up the sums of all batches: the result does not depend on batching.

    The weights are those under the reference; lengths include `</s>`, and weights on padding are ignored. A sentence
    with one position on either side is left out: it has no choice or no direction.
    """
    # real positions
    S, T = (lengths[:, None, None, None] for lengths in (src_lengths, tgt_lengths))  # batch 1 1 1
    t, i = (torch.arange(size, device=weights.device) for size in weights.shape[2:])
    t = t[:, None]
    sentences = (S > 1) & (T > 1)
    words = sentences & (i < S - 1)  # batch 1 1 src

    # a_ti: rows that sum to 1, without the rows of zeros
    a = weights.masked_fill(~(sentences & (t < T) & (i < S)), 0)
    mass = a.sum(-1, keepdim=True)  # batch head tgt 1
    rows = mass > 0
    a = a / mass.where(rows, 1)

    # numerator and denominator of each number
    x = (a * (i + 0.5)).sum(-1, keepdim=True) / S - 0.5
    y = ((t + 0.5) / T - 0.5) * rows
    sums = [
        (torch.special.entr(a) / S.clamp(min=2).log(), rows),
        (a.sum(2, keepdim=True).mean(1, keepdim=True).clamp(max=1) * words, words),
        (x * y, y * y),
        (a * (i == S - 1), rows),
    ]
    return torch.stack([torch.stack([top.sum(), bottom.sum()]) for top, bottom in sums]).cpu().double()


WARN_FROM = 1000  # updates: a good run may take this long to find its attention
UNIFORM = 0.95  # entropy: above this, no token of an ordinary sentence has much more weight than the others
RESTING = 0.5  # eos: above this, </s> has more weight than all words together
# Below both of these the attention stays on the same few tokens, for example if the lines of the data do not match.
# A short target covers little of its source too, but has a slope.
STILL_COVERAGE = 0.25
STILL_DIAGONALITY = 0.1
FAR = 2  # times the perplexity of a uniform guess: above this, the model is surer of wrong tokens than of right ones


def warnings(update: int, scores: Mapping[str, float], vocabulary: int) -> list[str]:
    """Return what is wrong and what to do next, one line each. The first finding explains the others, and is alone.

    There are none about attention before update `WARN_FROM`, nor if the scores of a validation lack those of `Health`.
    """
    # a loss that is worse than guessing
    if not scores["perplexity"] <= FAR * vocabulary:  # true for nan as well
        return [
            f"the perplexity on data.dev, {scores['perplexity']:,.0f}, is far above that of a uniform guess, "
            f"{vocabulary:,}: lower training.learning_rate or set training.clip_norm; if the training loss falls all "
            "the same, check that data.dev is the same kind of text as data.train, source and target not exchanged"
        ]
    if update < WARN_FROM or "attention_entropy" not in scores:
        return []

    # attention that has found nothing
    if (entropy := scores["attention_entropy"]) > UNIFORM:
        return [
            f"the attention is still uniform after {update:,} updates (entropy {entropy:.2f} of 1): check that the "
            "lines of data.train translate each other, then try twice the training.learning_rate, or another "
            "model.attention.score"
        ]
    if (eos := scores["attention_eos"]) > RESTING:
        return [
            f"the attention rests on </s> ({eos:.0%} of its weight), not on words: look at some sentences with "
            "`seq2seq attention`; if the scores have stopped rising, try another model.attention.score"
        ]
    coverage, diagonality = scores["attention_coverage"], scores["attention_diagonality"]
    if coverage < STILL_COVERAGE and abs(diagonality) < STILL_DIAGONALITY:
        return [
            f"the attention stays on the same tokens (it covers {coverage:.0%} of the source): check that the lines of "
            "data.train translate each other; if they do, train longer, or try another model.attention.score or window"
        ]
    return []
