"""Search for the best output sequences. It knows tokens and log-probabilities only.

A model appears here as a `step`: it takes the last token of every row and a state, and gives back the logits of the
next token and the state after it. The state is whatever the model likes, as long as `select` can pick rows of it.

A sequence's score is the sum of the natural log-probabilities of its tokens, the end token among them. Every hypothesis
ends with the end token: the last position allowed takes no other.
"""

import math
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
Step = Callable[[Int[Tensor, " rows"], S], tuple[Float[Tensor, "rows vocab"], S]]


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

    Each sentence has `beam` slots. A hypothesis that ends keeps its slot, and the others go on in those that are left.
    A sentence leaves the batch when no slot is left, or when nothing that still runs can come before its n-th best
    hypothesis: a score only falls with length, so score / penalty(longest) bounds what a running one can reach.
    With beam = 1 this is greedy decoding.

    Args:
        step: the model.
        state: before the first token, one row a sentence; afterwards a sentence's slots are neighboring rows.
        limits: begin, end and forbidden tokens; the longest length of each sentence.
        beam: slots a sentence.
        alpha: exponent of the length penalty, at least 0; 0 is none.
        nbest: hypotheses wanted, at most `beam`.
    """
    device = limits.max_lengths.device
    done: list[list[Hypothesis]] = [[] for _ in limits.max_lengths]
    sentences = torch.arange(len(done), device=device)  # those still in the batch
    free = torch.full_like(sentences, beam)  # slots without an ended hypothesis
    tokens = torch.full((len(done), 1), limits.bos, device=device)  # the last token in every slot
    history = tokens.new_empty(len(done), 1, 0)
    scores = torch.zeros(len(done), 1, dtype=_precise(device), device=device)  # -inf: nothing runs in this slot
    for length in range(1, int(limits.max_lengths.max()) + 1):
        logits, state = step(tokens.flatten(), state)
        last = (limits.max_lengths[sentences] == length).repeat_interleave(tokens.size(1))
        scores, slot, tokens = _best(scores, _log_probs(logits, limits, last), free, beam)
        history = history.gather(1, slot[:, :, None].expand(-1, -1, length - 1))
        history = torch.cat([history, tokens[:, :, None]], dim=2)

        ended = (tokens == limits.eos) & scores.isfinite()
        for i, j in ended.nonzero().tolist():
            score = scores[i, j].item()
            ending = Hypothesis(history[i, j, :-1].tolist(), score, score / length_penalty(length, alpha))
            done[int(sentences[i])].append(ending)
        free = free - ended.sum(1)
        scores = scores.masked_fill(ended, -torch.inf)

        longest = [length_penalty(n, alpha) for n in limits.max_lengths[sentences].tolist()]
        reachable = scores.amax(1) / torch.tensor(longest, dtype=scores.dtype, device=device)
        wanted = [_nth_best(done[i], nbest) for i in sentences.tolist()]
        running = reachable > torch.tensor(wanted, dtype=scores.dtype, device=device)
        if not running.any():
            break
        rows = torch.arange(len(slot), device=device)[:, None] * (len(last) // len(slot)) + slot
        state = state.select(rows[running].flatten(), None if running.all() else running.nonzero().flatten())
        sentences, free, scores, tokens, history = (x[running] for x in (sentences, free, scores, tokens, history))
    return [sorted(found, key=lambda h: (-h.normalized_score, h.tokens))[:nbest] for found in done]


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
        logits, state = step(tokens, state)
        log_probs = _log_probs(logits, limits, limits.max_lengths[sentences] == length)
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


def _log_probs(
    logits: Float[Tensor, "rows vocab"], limits: Limits, last: Bool[Tensor, " rows"]
) -> Float[Tensor, "rows vocab"]:
    """Log-probabilities; -inf for what may not be chosen: forbidden tokens, on the last position all but the end."""
    log_probs = logits.float().log_softmax(-1)
    log_probs[:, list(limits.forbidden)] = -torch.inf
    if last.any():
        only_end = torch.full_like(log_probs[0], -torch.inf)
        only_end[limits.eos] = 0.0
        log_probs[last] += only_end
    return log_probs


def _best(
    scores: Float[Tensor, "sentences slots"],
    log_probs: Float[Tensor, "rows vocab"],
    free: Int[Tensor, " sentences"],
    beam: int,
) -> tuple[Float[Tensor, "sentences best"], Int[Tensor, "sentences best"], Int[Tensor, "sentences best"]]:
    """The best continuations of a sentence: score, slot continued, token. As many as slots are free; the rest -inf."""
    sentences = len(scores)
    values, tokens = log_probs.topk(min(beam + 1, log_probs.size(1)), dim=1)
    tied = (values[:, beam - 1 : beam] == values[:, beam:]).any(1)  # across the cut, where topk takes any of them
    tokens[tied] = log_probs[tied].argsort(dim=1, descending=True, stable=True)[:, : tokens.size(1)]
    tokens, _ = tokens[:, :beam].sort(dim=1)  # so that the stable sort below breaks ties by slot and token id
    values = log_probs.gather(1, tokens).to(scores.dtype) + scores.view(-1, 1)
    values, index = values.view(sentences, -1).sort(dim=1, descending=True, stable=True)
    values, index = values[:, :beam], index[:, :beam]
    beyond = torch.arange(values.size(1), device=free.device) >= free[:, None]
    return values.masked_fill(beyond, -torch.inf), index // tokens.size(1), tokens.view(sentences, -1).gather(1, index)


def _nth_best(found: list[Hypothesis], n: int) -> float:
    """The n-th best normalized score; -inf where fewer are found."""
    return sorted((h.normalized_score for h in found), reverse=True)[n - 1] if len(found) >= n else -math.inf


def _cut(log_probs: Float[Tensor, "rows vocab"], top_k: int, top_p: float) -> Float[Tensor, "rows vocab"]:
    """Probabilities of the tokens to draw from, 0 for those cut off; rows need not sum to 1."""
    probs, tokens = log_probs.softmax(-1).sort(dim=-1, descending=True, stable=True)
    before = probs.cumsum(-1) - probs  # the mass of the more probable ones
    keep = before < top_p
    if top_k > 0:
        keep[:, top_k:] = False
    return torch.zeros_like(probs).scatter(1, tokens, probs * keep)
