"""Batches of sentence pairs of like length, in an order that (seed, epoch) fixes, from any position on.

The plan of an epoch, which pairs form which batch, depends on nothing but the corpus, the size, the seed and the epoch.
So two numbers, the epoch and the index of the next batch, are all that a resumed run needs to go on exactly.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from seq2seq.text.tokenizer import BOS, PAD

EncodedPair = tuple[list[int], list[int]]


class Batch(NamedTuple):
    """Token ids of a batch of sentence pairs, padded with PAD."""

    src: Int64[Tensor, "batch src"]  # every sentence ends in EOS
    src_lengths: Int64[Tensor, " batch"]  # EOS included
    tgt_in: Int64[Tensor, "batch tgt"]  # BOS y_1 ... y_n: what the decoder reads
    tgt_out: Int64[Tensor, "batch tgt"]  # y_1 ... y_n EOS: what it must say
    tokens: int  # target tokens, EOS included, padding not

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        src, src_lengths, tgt_in, tgt_out = (tensor.to(device, non_blocking=True) for tensor in self[:4])
        return Batch(src, src_lengths, tgt_in, tgt_out, self.tokens)


@dataclass(frozen=True)
class Position:
    """The next batch to read: its epoch, and its index in that epoch; both count from 0."""

    epoch: int = 0
    index: int = 0


def make_batch(pairs: Sequence[EncodedPair]) -> Batch:
    """Pad pairs of token ids, both sides ending in EOS, into one batch, in the order given."""
    lengths = torch.tensor([len(src) for src, _ in pairs])
    src, tgt_out = _pad([src for src, _ in pairs]), _pad([tgt for _, tgt in pairs])
    tgt_in = _pad([[BOS, *tgt[:-1]] for _, tgt in pairs])
    return Batch(src, lengths, tgt_in, tgt_out, tokens=sum(len(tgt) for _, tgt in pairs))


def _pad(rows: Sequence[Sequence[int]]) -> Int64[Tensor, "batch length"]:
    padded = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    return torch.from_numpy(padded)


class Batches:
    """The batches of a corpus, epoch after epoch: every pair once an epoch, pairs of like length together.

    With `batch_type` "sentences", `size` is the number of pairs in a batch. With "tokens", it is a ceiling on the
    positions of either side, padding included: `batch * src <= size` and `batch * tgt <= size`. A pair longer than that
    makes a batch alone. Each epoch deals pairs of equal lengths anew and shuffles the batches.
    """

    def __init__(self, pairs: Sequence[EncodedPair], size: int, batch_type: Literal["tokens", "sentences"], seed: int):
        assert pairs
        self._pairs = pairs
        self._size = size
        self._seed = seed
        self._lengths = np.array([(len(src), len(tgt)) for src, tgt in pairs])  # (pairs, 2)
        self._costs = self._lengths.max(axis=1) if batch_type == "tokens" else np.ones(len(pairs), dtype=int)
        self._planned: tuple[int, list[list[int]]] = (0, self._plan(0))

    def len_of_epoch(self, epoch: int) -> int:
        """The number of batches in an epoch."""
        return len(self._batches_of(epoch))

    def iterate(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from index `start` on."""
        for rows in self._batches_of(epoch)[start:]:
            yield make_batch([self._pairs[row] for row in rows])

    def stream(self, position: Position) -> Iterator[tuple[Position, Batch]]:
        """Batches without end from `position` on, each with the position after it: the one to resume from."""
        epoch, index = position.epoch, position.index
        while True:
            last = self.len_of_epoch(epoch) - 1
            for i, batch in enumerate(self.iterate(epoch, index), start=index):
                yield (Position(epoch, i + 1) if i < last else Position(epoch + 1)), batch
            epoch, index = epoch + 1, 0

    def padding_share(self, epoch: int = 0) -> float:
        """The share of an epoch's positions, on both sides, that hold padding: 0 is none."""
        padded = sum(len(rows) * self._lengths[rows].max(axis=0).sum() for rows in self._batches_of(epoch))
        return 1 - float(self._lengths.sum() / padded)

    def _batches_of(self, epoch: int) -> list[list[int]]:
        if self._planned[0] != epoch:
            self._planned = epoch, self._plan(epoch)
        return self._planned[1]

    def _plan(self, epoch: int) -> list[list[int]]:
        """Which pairs form which batch: deal, sort by length, cut where the next pair would not fit, shuffle."""
        rng = np.random.default_rng([self._seed, epoch])
        dealt = rng.permutation(len(self._pairs))
        src, tgt = self._lengths[dealt].T
        ordered = dealt[np.lexsort((tgt, src, self._costs[dealt]))]  # by cost, then src, then tgt; ties as dealt
        batches: list[list[int]] = [[]]
        widest = 0
        for row, cost in zip(ordered.tolist(), self._costs[ordered].tolist(), strict=True):
            widest = max(widest, cost)
            if batches[-1] and (len(batches[-1]) + 1) * widest > self._size:
                batches.append([])
                widest = cost
            batches[-1].append(row)
        return [batches[i] for i in rng.permutation(len(batches))]
