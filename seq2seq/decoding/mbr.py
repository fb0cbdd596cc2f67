"""Minimum Bayes risk: of several translations, the one that is most like all the others (Eikema and Aziz 2020).

best = argmax_i sum_j p_j chrF(text_i, text_j)        p_j = exp(score_j / 2) / sum_k exp(score_k / 2)
"""

from collections import Counter
from collections.abc import Callable, Sequence

from seq2seq.decoding.search import Hypothesis
from seq2seq.shapes import Array, Float

ORDER, BETA = 6, 2  # of chrF: letters in a row, and how much more recall counts than precision
# chosen on dev: with 1 the likeliest hypothesis outweighs the others, with 0 unlikely ones count too much
SHARPNESS = 0.5


def most_alike(pool: Sequence[Hypothesis], decode: Callable[[list[int]], str]) -> list[Hypothesis]:
    """Return hypotheses of a sentence with their expected chrF as normalized score; one may be there several times."""
    if not pool:
        return []
    expected = expected_chrf([decode(h.tokens) for h in pool], [h.score for h in pool])
    return [h._replace(normalized_score=chrf) for h, chrf in zip(pool, expected.tolist(), strict=True)]


def expected_chrf(texts: Sequence[str], scores: Sequence[float]) -> Float[Array, " texts"]:
    """Return how much each text is like the others: its mean chrF, in percent, with each of them as reference.

    The weights of the mean are the probabilities, flattened; the scores are natural log-probabilities.
    """
    import numpy as np

    probs = np.exp(SHARPNESS * (np.array(scores) - max(scores)))
    return chrf_matrix(texts) @ (probs / probs.sum())


def chrf_matrix(texts: Sequence[str]) -> Float[Array, "texts texts"]:
    """Return sacrebleu's chrF of each text (a row) with each text as its reference (a column), in percent."""
    import numpy as np

    letters = ["".join(text.split()) for text in texts]
    precision, recall, orders = (np.zeros((len(texts), len(texts))) for _ in range(3))
    for n in range(1, ORDER + 1):
        # how often each text has each n letters in a row
        grams = [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in letters]
        column = {gram: i for i, gram in enumerate(set().union(*grams))}
        counts = np.zeros((len(texts), len(column)))
        for row, found in zip(counts, grams, strict=True):
            row[[column[gram] for gram in found]] = [*found.values()]

        # the matches; an order counts where both sides have one
        matches = np.minimum(counts[:, None], counts[None]).sum(-1)
        totals = counts.sum(1)
        both = (totals[:, None] > 0) & (totals[None] > 0)
        precision += matches / np.maximum(totals[:, None], 1)
        recall += matches / np.maximum(totals[None], 1)
        orders += both
    precision, recall = precision / np.maximum(orders, 1), recall / np.maximum(orders, 1)
    return 100 * (1 + BETA**2) * precision * recall / np.maximum(BETA**2 * precision + recall, 1e-16)
