"""The shortlist: the few tokens that a translation may need, so that the softmax in a search takes little time.

For a sentence these are the frequent target tokens and the likely translations of each source token. The translations
are learned from training pairs by IBM Model 1 (Brown et al. 1993). In this model each target token y translates one of
the m tokens of its source, all of which are equally likely a priori:

    p(y | x_1 ... x_m) = 1/m sum_i t(y | x_i)
    c(y, x) = sum of t(y | x) / sum_i t(y | x_i), over all y in the target and x in the source of a pair
    t(y | x) = c(y, x) / sum_y c(y, x)

c is the expected number of times that y was written for x, given t. EM starts from a uniform t and computes c and t in
turn. `</s>`, at the end of every source, takes the role of the paper's empty word. Tokens that are always listed are
left out of the targets: this saves five sixths of the work, and source tokens do not waste candidates on them.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from seq2seq.errors import UserError
from seq2seq.files import LARGEST, opened
from seq2seq.shapes import Array, Float, Int, Int64, Integer

FREQUENT = 500  # number of target tokens that are always listed
PER_TOKEN = 20  # candidates of a source token, at most
EVENTS = 6_000_000  # about so many pairs of a source and a target position are used by EM: 250 MB
ITERATIONS = 2  # of EM; more make lists longer, but no better than other lists of that length

Sides = tuple[Integer[Array, " src"], Integer[Array, " tgt"]]  # the token ids of a pair


@dataclass(frozen=True, eq=False)
class Shortlist:
    """The tokens that translations may hold, for any source."""

    always: Int[Array, " always"]  # the tokens of every list, the special ones among them
    candidates: Int[Array, "src_vocab per_token"]  # tokens that a source token adds; padding is in `always`

    def ids(self, sources: Sequence[Sequence[int]], needed: Collection[int] = ()) -> Int64[Tensor, " listed"]:
        """Return the tokens for these sentences, and other needed ones.

        They are in ascending order, so that the special tokens keep their low ids.
        """
        import numpy as np

        tokens = np.unique(np.concatenate(sources))
        listed = np.union1d(self.always, self.candidates[tokens])
        return torch.from_numpy(np.union1d(listed, [*needed]).astype(np.int64))

    def save(self, file: Path, origin: str) -> None:
        """Write a file that `load` reads; `origin` names the store that the shortlist was learned from."""
        from safetensors.numpy import save_file

        known = f"{self._digest(origin)} {origin}"  # one entry: safetensors writes several in any order
        save_file({"always": self.always, "candidates": self.candidates}, file, {"sha256": known})

    @classmethod
    def load(cls, file: Path) -> tuple["Shortlist", str]:
        """Read a file that `save` wrote, and its origin; raise UserError if it is damaged."""
        try:
            with opened(file, LARGEST):  # an ordinary file, and not a huge one
                pass
            with safe_open(file, framework="numpy") as tensors:
                shortlist = cls(tensors.get_tensor("always"), tensors.get_tensor("candidates"))
                digest, _, origin = (tensors.metadata() or {}).get("sha256", "").partition(" ")
            if digest != shortlist._digest(origin):
                raise SafetensorError("not what was written")
            return shortlist, origin
        except (OSError, SafetensorError) as error:
            raise UserError(f"{file}: damaged ({error}); delete it, and the next search learns it again") from None

    def _digest(self, origin: str) -> str:
        return hashlib.sha256(origin.encode() + self.always.tobytes() + self.candidates.tobytes()).hexdigest()


def learn_shortlist(
    pairs: Sequence[Sides], src_size: int, tgt_size: int, *, special: Sequence[int], copy_source: bool
) -> Shortlist:
    """Learn a shortlist from training pairs.

    The candidates of a source token are the target tokens that were written for it at least once, as far as EM can
    tell, the most frequent first; and at least the most frequent one.

    Every list holds the `special` tokens too and, with `copy_source` (for a joint vocabulary), the source tokens: names
    are copied. The sizes are those of the vocabularies.
    """
    import numpy as np

    # the frequent tokens
    counts = np.bincount(np.concatenate([tgt for _, tgt in pairs]), minlength=tgt_size)
    always = np.union1d(special, np.argsort(-counts, kind="stable")[:FREQUENT])

    # how often each of the others was written for each source token, in pairs of about `EVENTS` events
    is_rare = ~np.isin(np.arange(tgt_size), always)
    rare = [(src, tgt[is_rare[tgt]]) for src, tgt in pairs]
    if (events := sum(len(src) * len(tgt) for src, tgt in rare)) > EVENTS:
        rare = [rare[int(i)] for i in np.linspace(0, len(rare) - 1, max(1, len(rare) * EVENTS // events))]
    x, y, c = expected_counts(rare, ITERATIONS)

    # the candidates of each source token, by rank
    order = np.lexsort((-c, x))
    x, y, c = x[order], y[order], c[order]
    rank = np.arange(len(x)) - np.searchsorted(x, x)
    kept = (rank == 0) | ((rank < PER_TOKEN) & (c >= 1))
    candidates = np.full((src_size, PER_TOKEN), always[0])
    candidates[x[kept], rank[kept]] = y[kept]
    if copy_source:
        candidates = np.column_stack([np.arange(src_size), candidates])
    return Shortlist(always.astype(np.int32), candidates.astype(np.int32))


class Counts(NamedTuple):
    """The counts c(y, x) of the tokens that occur together in a pair."""

    x: Int64[Array, " met"]  # source tokens, ascending
    y: Int64[Array, " met"]  # target tokens, ascending for each source token
    c: Float[Array, " met"]


def expected_counts(pairs: Sequence[Sides], iterations: int) -> Counts:
    """Return c(y, x) of Model 1 after some iterations of EM."""
    import numpy as np

    # all events in a row: for each target position of a pair, each of its source positions
    m, n = (np.array([len(tokens) for tokens in side]) for side in zip(*pairs, strict=True))
    src, tgt = (np.concatenate(side).astype(np.int64) for side in zip(*pairs, strict=True))
    events = np.repeat(m, n)  # of each target position
    begins = np.cumsum(events) - events
    keys = src[np.arange(events.sum()) + np.repeat(np.repeat(np.cumsum(m) - m, n) - begins, events)]

    # the different (x, y), and which of them each event is
    keys <<= 32
    keys |= np.repeat(tgt, events)
    met, which = torch.unique(torch.from_numpy(keys), return_inverse=True)  # several times as fast as numpy's
    del keys
    x, y, event = (met >> 32).numpy(), (met & 0xFFFFFFFF).numpy(), which.numpy()

    # EM
    t: Array = np.ones(len(x), np.float32)
    c = t
    for _ in range(iterations):
        p = t[event]
        p /= np.repeat(np.add.reduceat(p, begins), events)
        c = np.bincount(event, p, minlength=len(x))
        t = (c / np.bincount(x, c)[x]).astype(np.float32)
    return Counts(x, y, c)
