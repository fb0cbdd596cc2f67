"""Attention health: four numbers that say, without a picture, whether a model looks at its source, and how.

The loss falls even where attention has failed and the decoder lives on its first state alone; these numbers of the dev
set tell. S and T are a sentence's own lengths, `</s>` included; a_t is the distribution of one head over the source
positions i at target position t, both counted from 0. Weights that do not sum to one, as under the window local_p, are
made to; a row of zeros, as of a model without attention, is left out.

    entropy       mean over t of -sum_i a_ti log a_ti / log S      0: one token, 1: all alike; a window shorter
                                                                   than the sentence keeps it from 1
    coverage      mean over i of min(1, sum_t a_ti), `</s>` and    the share of the source that is looked at
                  heads apart: it is left out, they are averaged
    diagonality   sum_t x_t y_t / sum_t y_t^2, the slope of the    1: from first to last, -1: from last to first,
                  line that fits x best, where the middle of the   0: uniform, at random, or always the same tokens
                  source and of the target is 0:
                  x_t = sum_i a_ti (i + 1/2) / S - 1/2
                  y_t = (t + 1/2) / T - 1/2
    eos           mean over t of a_ti at the source's `</s>`       the share that falls on no word
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

Sums = Float64[Tensor, "4 2"]  # of each number of `Health`, in its order: a total, and what divides it


class Health(NamedTuple):
    """The four numbers; see the module."""

    entropy: float
    coverage: float
    diagonality: float
    eos: float

    @classmethod
    def of(cls, sums: Sums) -> "Health | None":
        """The numbers in summed `health_sums`; None where nothing is looked at, as without attention."""
        totals, counts = sums.unbind(1)
        return cls(*(totals / counts).tolist()) if counts.all() else None

    def scores(self) -> dict[str, float]:
        """The numbers under the names they are logged by, `attention_entropy` and so on."""
        return {f"attention_{name}": value for name, value in self._asdict().items()}


def health_sums(
    weights: Float[Tensor, "batch head tgt src"], src_lengths: Int[Tensor, " batch"], tgt_lengths: Int[Tensor, " batch"]
) -> Sums:
    """What a batch adds to the numbers, on the CPU. The sums of several batches add up, however they are cut.

    A sentence of one position on either side has no choice or no direction, and is left out.

    Args:
        weights: of attention, under the reference; what they hold on padding does not matter.
        src_lengths: real source positions, `</s>` included.
        tgt_lengths: real target positions, `</s>` included.
    """
    S, T = (lengths[:, None, None, None] for lengths in (src_lengths, tgt_lengths))  # batch 1 1 1
    t, i = (torch.arange(size, device=weights.device) for size in weights.shape[2:])
    t = t[:, None]
    sentences = (S > 1) & (T > 1)
    a = weights.masked_fill(~(sentences & (t < T) & (i < S)), 0)
    mass = a.sum(-1, keepdim=True)  # batch head tgt 1
    rows = mass > 0
    a = a / mass.where(rows, 1)
    words = sentences & (i < S - 1)  # batch 1 1 src
    x = (a * (i + 0.5)).sum(-1, keepdim=True) / S - 0.5
    y = ((t + 0.5) / T - 0.5) * rows
    sums = [
        (torch.special.entr(a) / S.clamp(min=2).log(), rows),
        (a.sum(2, keepdim=True).mean(1, keepdim=True).clamp(max=1) * words, words),
        (x * y, y * y),
        (a * (i == S - 1), rows),
    ]
    return torch.stack([torch.stack([total.sum(), count.sum()]) for total, count in sums]).cpu().double()


# ----------------------------------------------------------------------------------------------------- warnings

WARN_FROM = 1000  # updates: a good run may not have found its attention earlier
UNIFORM = 0.95  # entropy: over this, no token of an ordinary sentence has much more weight than the others
RESTING = 0.5  # eos: over this, one token that is no word has more weight than all words
STILL_COVERAGE = 0.25  # below this, and below this slope, it is always the same few tokens, as where the source and
STILL_DIAGONALITY = 0.1  # target lines do not belong together; a short target covers little too, but has a slope


FAR = 2  # times the perplexity of a uniform guess: over this, the model is surer of what is wrong than of what is right


def warnings(update: int, scores: Mapping[str, float], vocabulary: int) -> list[str]:
    """What is wrong and what to do next, a line each; the first thing found explains the rest.

    Args:
        update: how many have been made; before `WARN_FROM` there are no warnings about attention.
        scores: of a validation; without those of `Health` there are no warnings about attention.
        vocabulary: the number of target tokens: the perplexity of a uniform guess.
    """
    if not scores["perplexity"] <= FAR * vocabulary:
        return [
            f"the perplexity on data.dev, {scores['perplexity']:,.0f}, is far above that of a uniform guess, "
            f"{vocabulary:,}: lower training.learning_rate or set training.clip_norm; if the training loss falls all "
            "the same, see whether data.dev is text of the kind of data.train, source and target not exchanged"
        ]
    if update < WARN_FROM or "attention_entropy" not in scores:
        return []
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
    if (coverage := scores["attention_coverage"]) < STILL_COVERAGE and (
        abs(scores["attention_diagonality"]) < STILL_DIAGONALITY
    ):
        return [
            f"the attention stays on the same tokens (it covers {coverage:.0%} of the source): check that the lines of "
            "data.train translate each other; if they do, train longer, or try another model.attention.score or window"
        ]
    return []
