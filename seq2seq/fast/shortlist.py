"""Which tokens a translation may need: a list so short that search spends little on the softmax over it.

The tokens that are frequent in the target language, and of each token of the source its translations. These are learnt
from the training pairs by IBM's Model 1 (Brown et al. 1993): a target token y was written for one of the m tokens of
its source, for each of them with the same probability a priori, so

    p(y | x_1 ... x_m) = 1/m sum_i t(y | x_i)
    c(y, x) = sum of t(y | x) / sum_i t(y | x_i), over all y in the target and x in the source of a pair
    t(y | x) = c(y, x) / sum_y c(y, x)

c is how often y is expected to be due to x, given t; EM goes from a uniform t to c, to t, to c. The source's `</s>`,
which all pairs have, is the paper's empty word. Tokens that are listed anyway are left out of the targets, which leaves
a sixth of the work, and the candidates of each source token to those that are not.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int64, Integer
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from seq2seq.data.batches import Chunks
from seq2seq.errors import UserError
from seq2seq.text.tokenizer import BOS, EOS, PAD, UNK, Tokenizers

FREQUENT = 500  # target tokens that are always listed
PER_TOKEN = 20  # candidates of a source token, at most
CHUNKS = 16  # of the training pairs that are looked at
EVENTS = 6_000_000  # of EM, a source and a target position of a pair each: 250 MB
ITERATIONS = 2  # of EM; with more, lists grow without missing less than others of their length

Sides = tuple[Integer[np.ndarray, " src"], Integer[np.ndarray, " tgt"]]  # the token ids of a pair


@dataclass(frozen=True, eq=False)
class Shortlist:
    """The tokens that a translation may hold, for any source.

    Attributes:
        always: tokens that every list holds, the special ones among them.
        candidates: those that a source token, the row, adds; padded with PAD, which is always listed.
    """

    always: Int[np.ndarray, " always"]
    candidates: Int[np.ndarray, "src_vocab per_token"]

    def ids(self, sources: Sequence[Sequence[int]]) -> Int64[Tensor, " listed"]:
        """What the translations of these sentences may hold, in ascending order: the special tokens keep their ids."""
        tokens = np.unique(np.concatenate(sources))
        return torch.from_numpy(np.union1d(self.always, self.candidates[tokens]).astype(np.int64))

    def save(self, file: Path) -> None:
        """Write a file that `load` reads."""
        save_file({"always": self.always, "candidates": self.candidates}, file, {"sha256": self._digest()})

    def _digest(self) -> str:
        return hashlib.sha256(self.always.tobytes() + self.candidates.tobytes()).hexdigest()

    @classmethod
    def load(cls, file: Path) -> "Shortlist":
        """Read what `save` wrote.

        Raises:
            UserError: a damaged file.
        """
        try:
            with safe_open(file, framework="numpy") as opened:
                found = cls(**{name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118, no mapping
                written = (opened.metadata() or {}).get("sha256")  # a file of before it was kept lacks it
            if written and written != found._digest():
                raise SafetensorError("not what was written")
            return found
        except (OSError, SafetensorError, TypeError) as error:
            raise UserError(
                f"{file}: damaged ({error}); delete it, and training with --resume makes it again"
            ) from None


def learn_shortlist(chunks: Chunks, tokenizers: Tokenizers) -> Shortlist:
    """The shortlist of some training pairs.

    A source token gets the target tokens that are due to it at least once, as far as EM can tell, the likeliest first,
    and at least the likeliest; where the vocabulary is joint also itself, as names are copied.
    """
    pairs = _sample(chunks)
    counts = np.bincount(np.concatenate([tgt for _, tgt in pairs]), minlength=len(tokenizers.tgt))
    always = np.union1d([PAD, UNK, BOS, EOS], np.argsort(-counts, kind="stable")[:FREQUENT])
    rare = ~np.isin(np.arange(len(counts)), always)
    x, y, c = expected_counts(_affordable([(src, tgt[rare[tgt]]) for src, tgt in pairs]), ITERATIONS)

    order = np.lexsort((-c, x))
    x, y, c = x[order], y[order], c[order]
    rank = np.arange(len(x)) - np.searchsorted(x, x)
    kept = (rank == 0) | ((rank < PER_TOKEN) & (c >= 1))
    candidates = np.full((len(tokenizers.src), PER_TOKEN), PAD)
    candidates[x[kept], rank[kept]] = y[kept]
    if tokenizers.joint:
        candidates = np.column_stack([np.arange(len(candidates)), candidates])
    return Shortlist(always.astype(np.int32), candidates.astype(np.int32))


class Counts(NamedTuple):
    """How often a target token is expected to be due to a source token, for the two that ever meet in a pair."""

    x: Int64[np.ndarray, " met"]  # source tokens, ascending
    y: Int64[np.ndarray, " met"]  # target tokens, ascending for each source token
    c: Float[np.ndarray, " met"]


def expected_counts(pairs: Sequence[Sides], iterations: int) -> Counts:
    """c(y, x) of Model 1 after some iterations of EM."""
    m, n = (np.array([len(tokens) for tokens in side]) for side in zip(*pairs, strict=True))
    src, tgt = (np.concatenate(side).astype(np.int64) for side in zip(*pairs, strict=True))
    events = np.repeat(m, n)  # of each target position: one for each source position
    begins = np.cumsum(events) - events
    keys = src[np.arange(events.sum()) + np.repeat(np.repeat(np.cumsum(m) - m, n) - begins, events)]
    keys <<= 32
    keys |= np.repeat(tgt, events)
    met, which = torch.unique(torch.from_numpy(keys), return_inverse=True)  # several times as fast as numpy's
    del keys
    x, y, event = (met >> 32).numpy(), (met & 0xFFFFFFFF).numpy(), which.numpy()
    t: np.ndarray = np.ones(len(x), np.float32)
    c = t
    for _ in range(iterations):
        p = t[event]
        p /= np.repeat(np.add.reduceat(p, begins), events)
        c = np.bincount(event, p, minlength=len(x))
        t = (c / np.bincount(x, c)[x]).astype(np.float32)
    return Counts(x, y, c)


def _sample(chunks: Chunks) -> list[Sides]:
    """The pairs of at most `CHUNKS` chunks, evenly spaced."""
    count = len(chunks.begins)
    pairs: list[Sides] = []
    for chunk in range(0, count, -(-count // CHUNKS)):
        lengths = chunks.lengths(chunk)
        begin = chunks.begins[chunk]
        parts = np.split(chunks.tokens[begin : begin + lengths.sum()], np.cumsum(lengths)[:-1])
        pairs += zip(parts[::2], parts[1::2], strict=True)
    return pairs


def _affordable(pairs: list[Sides]) -> list[Sides]:
    """About as many evenly spaced pairs as make `EVENTS` events."""
    events = sum(len(src) * len(tgt) for src, tgt in pairs)
    if events <= EVENTS:
        return pairs
    count = max(1, len(pairs) * EVENTS // events)
    return [pairs[i] for i in np.linspace(0, len(pairs) - 1, count).astype(int)]
