"""Search for the best output sequences. It knows tokens and log-probabilities only.

A model appears here as a `step`: it takes the last token of every row, a state, and the rows that run; it gives back
the log-probabilities of the next token for the rows that run, which the search may overwrite, and the state after it
for all. The state is whatever the model likes, as long as `select` can pick rows of it.

A sequence's score is the sum of the natural log-probabilities of its tokens, the end token among them. Every hypothesis
ends with the end token: the last position allowed takes no other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@runtime_checkable  # so that tests check signatures
class SearchState(Protocol):
    """What a step hands to the next."""

    def select(self: "S", rows: Int[Tensor, " rows"], sentences: Int[Tensor, " sentences"] | None) -> "S":
        """The state of the given rows in that order; of the given sentences only, where some have left the batch."""
        ...


S = TypeVar("S", bound=SearchState)
Step = Callable[[Int[Tensor, " rows"], S, Int[Tensor, " running"]], tuple[Float[Tensor, "running vocab"], S]]

BLOCK = 8  # the vocabulary is looked through for its largest numbers in columns of so many


class Hypothesis(NamedTuple):
    """One output sequence."""

    tokens: list[int]  # without the end token
    score: float  # sum of natural log-probabilities, the end token's included
    normalized_score: float  # score / length_penalty


def length_penalty(length: int, alpha: float) -> float:
    """((5 + length) / 6) ** alpha; length counts the end token (Wu et al. 2016, eq. 14). 1 for alpha = 0."""
    return ((5 + length) / 6) ** alpha


@dataclass(frozen=True)
class Limits:
    """What a search must know of the vocabulary and of each sentence."""

    bos: int
    eos: int
    forbidden: tuple[int, ...]  # tokens that are never chosen
    max_lengths: Int[Tensor, " sentences"]  # tokens at most, the end token included


def beam_search(
    step: Step[S], state: S, limits: Limits, *, beam: int, alpha: float = 0.0, nbest: int = 1
) -> list[list[Hypothesis]]:
    """The `nbest` best hypotheses of each sentence, best first by normalized score; ties go to the smaller token ids.

    At each position the `beam` best continuations of a sentence are kept. Those that end are put aside, the others run
    on. One that cannot come before the sentence's n-th best ended hypothesis any more stops running: a score only falls
    with length, so score / penalty(longest) bounds what it can reach, and nothing is lost by stopping it. A sentence
    leaves the batch when none of its hypotheses runs. With beam = 1 this is greedy decoding.

    Args:
        step: the model.
        state: before the first token, one row a sentence; afterwards `beam` neighboring rows a sentence.
        limits: begin, end and forbidden tokens; the longest length of each sentence.
        beam: hypotheses of a sentence that run at a time, at most.
        alpha: exponent of the length penalty, at least 0; 0 is none.
        nbest: hypotheses wanted, at most `beam`.
    """
    longest, count = limits.max_lengths, len(limits.max_lengths)
    device, precise = longest.device, _precise(longest.device)
    penalties = [length_penalty(length, alpha) for length in range(int(longest.max()) + 1)]
    last_penalty = torch.tensor(penalties, dtype=precise, device=device)[longest]  # that of a sentence's last position
    sentences = torch.arange(count, device=device)  # those still in the batch
    wanted = torch.full((count, nbest), -torch.inf, dtype=precise, device=device)  # the best normalized scores so far
    tokens = torch.full((count, 1), limits.bos, device=device)  # the last token of every hypothesis
    history = tokens.new_empty(count, 1, 0)
    scores = torch.zeros(count, 1, dtype=precise, device=device)  # -inf: nothing runs here
    ends = []
    for length in range(1, len(penalties)):
        slots = scores.size(1)
        running = (scores.flatten() > -torch.inf).nonzero().flatten()
        log_probs, state = step(tokens.flatten(), state, running)
        best = _best_tokens(_allowed(log_probs, limits, (longest == length)[running // slots]), beam)
        scores, slot, tokens = _best_continuations(scores, running, *best, beam)
        history = torch.cat([history.gather(1, slot[:, :, None].expand(-1, -1, length - 1)), tokens[:, :, None]], dim=2)

        ended = (tokens == limits.eos) & (scores > -torch.inf)
        if ended.any():
            normalized = scores / penalties[length]
            ends.append((sentences[ended.nonzero()[:, 0]], history[ended][:, :-1], scores[ended], normalized[ended]))
            wanted = torch.cat([wanted, normalized.masked_fill(~ended, -torch.inf)], dim=1)
            wanted = wanted.sort(dim=1, descending=True).values[:, :nbest]
        if ends:
            behind = scores / last_penalty[:, None] <= wanted[:, -1:]
            scores = scores.masked_fill(ended | behind, -torch.inf)

        left = (scores > -torch.inf).any(1)
        rows = slots * torch.arange(len(slot), device=device)[:, None] + slot
        if left.all():
            state = state.select(rows.flatten(), None)
            continue
        stay = left.nonzero().flatten()
        if not len(stay):
            break
        state = state.select(rows[stay].flatten(), stay)
        longest, last_penalty, sentences, wanted = (x[stay] for x in (longest, last_penalty, sentences, wanted))
        tokens, history, scores = (x[stay] for x in (tokens, history, scores))
    return _hypotheses(ends, count, nbest)


def sample(
    step: Step[S],
    state: S,
    limits: Limits,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> list[list[Hypothesis]]:
    """One random hypothesis a sentence, drawn token by token from softmax(logits / temperature).

    `top_k` > 0 keeps the k most probable tokens, `top_p` < 1 the most probable ones that together reach this mass (the
    nucleus; at least one token). Scores are the model's own log-probabilities, before temperature and cuts.
    """
    device = limits.max_lengths.device
    done: list[list[Hypothesis]] = [[] for _ in limits.max_lengths]
    sentences = torch.arange(len(done), device=device)
    tokens = torch.full_like(sentences, limits.bos)
    history = tokens.new_empty(len(done), 0)
    scores = torch.zeros(len(done), dtype=_precise(device), device=device)
    for length in range(1, int(limits.max_lengths.max()) + 1):
        log_probs, state = step(tokens, state, torch.arange(len(tokens), device=device))
        log_probs = _allowed(log_probs, limits, limits.max_lengths[sentences] == length)
        tokens = torch.multinomial(_cut(log_probs / temperature, top_k, top_p), 1, generator=generator)
        scores = scores + log_probs.gather(1, tokens).squeeze(1)
        history = torch.cat([history, tokens], dim=1)
        tokens = tokens.squeeze(1)
        ended = tokens == limits.eos
        for i in ended.nonzero().flatten().tolist():
            score = scores[i].item()
            done[int(sentences[i])].append(Hypothesis(history[i, :-1].tolist(), score, score))
        if ended.all():
            break
        running = (~ended).nonzero().flatten()
        state = state.select(running, running if ended.any() else None)
        sentences, tokens, history, scores = (x[running] for x in (sentences, tokens, history, scores))
    return done


def _precise(device: torch.device) -> torch.dtype:
    """The numbers that scores are summed in: double precision, but on Apple's GPUs, which have none."""
    return torch.float32 if device.type == "mps" else torch.float64


def _allowed(
    log_probs: Float[Tensor, "rows vocab"], limits: Limits, last: Bool[Tensor, " rows"]
) -> Float[Tensor, "rows vocab"]:
    """-inf for what may not be chosen: forbidden tokens, on the last position all but the end."""
    log_probs.index_fill_(1, torch.tensor(limits.forbidden, dtype=torch.long, device=log_probs.device), -torch.inf)
    if last.any():
        only_end = torch.full_like(log_probs[0], -torch.inf)
        only_end[limits.eos] = 0.0
        log_probs[last] += only_end
    return log_probs


def _best_tokens(
    log_probs: Float[Tensor, "rows vocab"], beam: int
) -> tuple[Float[Tensor, "rows best"], Int[Tensor, "rows best"]]:
    """The best tokens of each row in the order of their ids, and their log-probabilities."""
    values, tokens = _top(log_probs, min(beam + 1, log_probs.size(1)))
    tied = (values[:, beam - 1 : beam] == values[:, beam:]).any(1)  # across the cut: any of the two was taken
    if tied.any():
        tokens[tied] = log_probs[tied].argsort(dim=1, descending=True, stable=True)[:, : tokens.size(1)]
    tokens, _ = tokens[:, :beam].sort(dim=1)
    return log_probs.gather(1, tokens), tokens


def _top(x: Float[Tensor, "rows columns"], k: int) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """`x.topk(k)`: the k largest lie in the k columns of `BLOCK` numbers with the largest maxima."""
    width = x.size(1) // BLOCK
    if width <= k:
        return x.topk(k, dim=1)
    blocks = x[:, : BLOCK * width].unflatten(1, (BLOCK, width))
    _, columns = blocks.amax(1).topk(k, dim=1)
    columns = (columns[:, None, :] + width * torch.arange(BLOCK, device=x.device)[:, None]).flatten(1)
    rest = torch.arange(BLOCK * width, x.size(1), device=x.device).expand(len(x), -1)
    columns = torch.cat([columns, rest], dim=1)
    values, index = x.gather(1, columns).topk(k, dim=1)
    return values, columns.gather(1, index)


def _best_continuations(
    scores: Float[Tensor, "sentences slots"],
    running: Int[Tensor, " running"],
    best: Float[Tensor, "running best"],
    tokens: Int[Tensor, "running best"],
    beam: int,
) -> tuple[Float[Tensor, "sentences kept"], Int[Tensor, "sentences kept"], Int[Tensor, "sentences kept"]]:
    """The `beam` best continuations of each sentence: score (-inf where there are fewer), slot continued, token."""
    before, width = scores.flatten(), best.size(1)
    values = before.new_full((len(before), width), -torch.inf)
    values.index_copy_(0, running, best.to(before.dtype) + before[running][:, None])
    every = tokens.new_zeros(len(before), width).index_copy_(0, running, tokens).view(len(scores), -1)
    values, index = values.view(len(scores), -1).sort(dim=1, descending=True, stable=True)  # ties: by slot, then by id
    values, index = values[:, :beam], index[:, :beam]
    return values, index // width, every.gather(1, index)


def _hypotheses(ends: list[tuple[Tensor, Tensor, Tensor, Tensor]], count: int, nbest: int) -> list[list[Hypothesis]]:
    """What ended at each position (sentence, tokens, score, normalized score), by sentence, the best first."""
    found: list[list[Hypothesis]] = [[] for _ in range(count)]
    for sentences, *parts in ends:
        for i, *parts_of_one in zip(sentences.tolist(), *(part.tolist() for part in parts), strict=True):
            found[i].append(Hypothesis(*parts_of_one))
    return [sorted(each, key=lambda h: (-h.normalized_score, h.tokens))[:nbest] for each in found]


def _cut(log_probs: Float[Tensor, "rows vocab"], top_k: int, top_p: float) -> Float[Tensor, "rows vocab"]:
    """Probabilities of the tokens to draw from, 0 for those cut off; rows need not sum to 1."""
    probs, tokens = log_probs.softmax(-1).sort(dim=-1, descending=True, stable=True)
    before = probs.cumsum(-1) - probs  # the mass of the more probable ones
    keep = before < top_p
    if top_k > 0:
        keep[:, top_k:] = False
    return torch.zeros_like(probs).scatter(1, tokens, probs * keep)
