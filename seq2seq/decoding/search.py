"""Beam search. It works on tokens and log-probabilities only, as sampling does (sampling.py).

The model appears as a `step` function. It takes the last token of every row, the state before that token, and the
indices of the rows whose hypotheses still run. It returns the log-probabilities of the next token for these rows, which
the search may overwrite, and the state of all rows after the step. The only thing that the search does with a state is
to `select` rows.

The score of a hypothesis is the sum of the natural log-probabilities of its tokens, the end token included. Every
hypothesis ends with the end token: at the last position allowed, all other tokens are forbidden.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from seq2seq.fast.topk import first_topk
from seq2seq.shapes import Bool, Float, Int


@runtime_checkable  # so that tests check signatures
class SearchState(Protocol):
    """The model's state between two steps, one row per hypothesis."""

    def select(self: "S", rows: Int[Tensor, " rows"], sentences: Int[Tensor, " sentences"] | None) -> "S":
        """Return the state of the given rows, in that order; `sentences` are the sentences to keep, None for all."""


S = TypeVar("S", bound=SearchState)
Step = Callable[[Int[Tensor, " rows"], S, Int[Tensor, " running"]], tuple[Float[Tensor, "running vocab"], S]]


class Hypothesis(NamedTuple):
    """A finished output sequence."""

    tokens: list[int]  # without the end token
    score: float  # sum of natural log-probabilities, that of the end token included
    normalized_score: float  # score / length_penalty


def length_penalty(length: int, alpha: float) -> float:
    """Return ((5 + length) / 6) ** alpha (Wu et al. 2016, eq. 14); `length` counts the end token. 1 for alpha = 0."""
    return ((5 + length) / 6) ** alpha


# The masks of the tokens that a hypothesis must not go on with, True where forbidden: given its tokens, and how many
# tokens may follow the next one
Rule = Callable[[list[int], int], Iterable[Bool[Tensor, " vocab"]]]


@dataclass(frozen=True)
class Limits:
    """The special tokens, the maximum length of each translation, and what else it must obey."""

    bos: int
    eos: int
    forbidden: tuple[int, ...]  # tokens that are never chosen
    max_lengths: Int[Tensor, " sentences"]  # the end token included
    rules: Sequence[Rule] = ()  # one for each sentence, or none at all


class _Beams(NamedTuple):
    """The hypotheses of the sentences that are still in the batch: at most `beam` per sentence, best first."""

    sentence: Int[Tensor, " sentences"]  # index of the sentence in the original batch
    last_penalty: Float[Tensor, " sentences"]  # length penalty at the sentence's last position
    best_finished: Float[Tensor, "sentences nbest"]  # best normalized scores of finished hypotheses, or -inf
    tokens: Int[Tensor, "sentences beam length"]  # from the begin token on
    scores: Float[Tensor, "sentences beam"]
    running: Bool[Tensor, "sentences beam"]  # False if the hypothesis is finished or stopped, or does not exist


class _Continuations(NamedTuple):
    """The best continuations of each sentence, best first."""

    parents: Int[Tensor, "sentences beam"]  # the continued hypothesis: its position in the beam
    tokens: Int[Tensor, "sentences beam"]  # the token that is appended
    scores: Float[Tensor, "sentences beam"]  # -inf where there are fewer than `beam` continuations


def beam_search(
    step: Step[S], state: S, limits: Limits, *, beam: int, alpha: float = 0.0, nbest: int = 1
) -> list[list[Hypothesis]]:
    """Return the `nbest` best hypotheses of each sentence, by normalized score; ties go to the smaller token ids.

    Each step keeps the `beam` best continuations of a sentence. With beam = 1 this is greedy decoding. A score can only
    fall, so a hypothesis can reach at most score / last_penalty. It stops when this is below the n-best list.

    `state` has one row per sentence, and after the first step `beam` rows per sentence. `alpha` is the exponent of
    the length penalty, at least 0; 0 means no penalty. `nbest` is at most `beam`.
    """
    # begin with one hypothesis per sentence, which holds only the begin token
    count, device = len(limits.max_lengths), limits.max_lengths.device
    dtype = score_dtype(device)
    penalties = [length_penalty(length, alpha) for length in range(int(limits.max_lengths.max()) + 1)]
    beams = _Beams(
        sentence=torch.arange(count, device=device),
        last_penalty=torch.tensor(penalties, dtype=dtype, device=device)[limits.max_lengths],
        best_finished=torch.full((count, nbest), -torch.inf, dtype=dtype, device=device),
        tokens=torch.full((count, 1, 1), limits.bos, device=device),
        scores=torch.zeros(count, 1, dtype=dtype, device=device),
        running=torch.ones(count, 1, dtype=torch.bool, device=device),
    )
    finished = []  # for each length: sentences, tokens, scores, normalized scores; on the device until the end

    for length in range(1, len(penalties)):
        # score the next token of every running hypothesis
        width = beams.running.size(1)  # hypotheses (rows of the state) per sentence
        running_rows = beams.running.flatten().nonzero().flatten()
        log_probs, state = step(beams.tokens[:, :, -1].flatten(), state, running_rows)

        # forbid tokens
        forbid(log_probs, limits, beams.sentence[running_rows // width], beams.tokens.flatten(0, 1)[running_rows])

        # keep the best continuations of each sentence
        best = _best_continuations(beams.scores, running_rows, log_probs, beam)

        # extend the histories
        parents = best.parents[:, :, None].expand(-1, -1, length)
        tokens = torch.cat([beams.tokens.gather(1, parents), best.tokens[:, :, None]], dim=2)
        beams = beams._replace(tokens=tokens, scores=best.scores, running=best.scores > -torch.inf)

        # set finished hypotheses aside
        ended = beams.running & (best.tokens == limits.eos)
        if ended.any():
            sentence, normalized = beams.sentence[ended.nonzero()[:, 0]], beams.scores / penalties[length]
            finished.append((sentence, tokens[ended][:, 1:-1], beams.scores[ended], normalized[ended]))
            ranked = torch.cat([beams.best_finished, normalized.masked_fill(~ended, -torch.inf)], dim=1)
            ranked = ranked.sort(dim=1, descending=True).values
            beams = beams._replace(best_finished=ranked[:, :nbest], running=beams.running & ~ended)

        # stop hypotheses that can no longer win
        if finished:
            can_win = beams.scores / beams.last_penalty[:, None] > beams.best_finished[:, -1:]
            beams = beams._replace(running=beams.running & can_win)

        # reorder the state like the beams, and drop finished sentences
        rows = width * torch.arange(len(best.parents), device=device)[:, None] + best.parents
        unfinished = beams.running.any(1)
        if unfinished.all():
            state = state.select(rows.flatten(), None)
            continue
        kept = unfinished.nonzero().flatten()
        if not len(kept):
            break
        state = state.select(rows[kept].flatten(), kept)
        beams = _Beams(*(field[kept] for field in beams))

    # rank the finished hypotheses of each sentence
    found: list[list[Hypothesis]] = [[] for _ in range(count)]
    for at_one_length in finished:
        for sentence, ids, score, normalized in zip(*(field.tolist() for field in at_one_length), strict=True):
            found[sentence].append(Hypothesis(ids, score, normalized))
    return [sorted(each, key=lambda h: (-h.normalized_score, h.tokens))[:nbest] for each in found]


def score_dtype(device: torch.device) -> torch.dtype:
    """Return the type of sums of log-probabilities."""
    return torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no double precision


def forbid(
    log_probs: Float[Tensor, "rows vocab"],
    limits: Limits,
    sentence: Int[Tensor, " rows"],
    tokens: Int[Tensor, "rows length"],
) -> None:
    """Set the log-probability of forbidden tokens to -inf, in place. All rules about forbidden tokens are here.

    Each row is a hypothesis, and `sentence` says of which sentence; `tokens` begin with the begin token.
    """
    # the tokens that are never chosen; one by one, because a list of them would be copied to a GPU at every step
    for token in limits.forbidden:
        log_probs[:, token] = -torch.inf

    # all tokens but the end, at the last position of a sentence
    left = limits.max_lengths[sentence] - tokens.size(1)
    is_last = left == 0
    if is_last.any():
        only_end = torch.full_like(log_probs[0], -torch.inf)
        only_end[limits.eos] = 0.0
        log_probs[is_last] += only_end

    # what the rule of its sentence forbids each hypothesis
    if limits.rules:
        for row, i, history, more in zip(
            log_probs, sentence.tolist(), tokens[:, 1:].tolist(), left.tolist(), strict=True
        ):
            for mask in limits.rules[i](history, more):
                row.masked_fill_(mask, -torch.inf)


def _best_continuations(
    scores: Float[Tensor, "sentences width"],
    running_rows: Int[Tensor, " running"],
    log_probs: Float[Tensor, "running vocab"],
    beam: int,
) -> _Continuations:
    """Return the `beam` best continuations of each sentence; ties go to the better parent, then to the smaller token.

    `running_rows` are indices into the flattened scores: the hypotheses whose next tokens have these log-probabilities.
    """
    # the best tokens of each hypothesis
    tokens = first_topk(log_probs, min(beam, log_probs.size(1))).sort(dim=1).values
    values = log_probs.gather(1, tokens)

    # the scores of these continuations; -inf for hypotheses that are not running
    before, per_parent = scores.flatten(), tokens.size(1)
    totals = before.new_full((len(before), per_parent), -torch.inf)
    totals.index_copy_(0, running_rows, values.to(before.dtype) + before[running_rows][:, None])
    appended = tokens.new_zeros(len(before), per_parent).index_copy_(0, running_rows, tokens)

    # the best continuations of each sentence; a stable sort leaves ties in order of parent and token
    totals, order = totals.view(len(scores), -1).sort(dim=1, descending=True, stable=True)
    order = order[:, :beam]
    return _Continuations(order // per_parent, appended.view(len(scores), -1).gather(1, order), totals[:, :beam])
