"""Batches of sentence pairs of like length, in an order that (seed, epoch) fixes, from any position on.

The plan of an epoch, which pairs form which batch, depends on nothing but the corpus, the size, the seed and the epoch.
So a few numbers that name the next batch are all that a resumed run needs to go on exactly. A large corpus is planned a
part at a time: each epoch deals its chunks anew into parts of `PART` chunks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int, Int64, Integer
from torch import Tensor

from seq2seq.data.store import EncodedPair, flatten
from seq2seq.text.tokenizer import BOS, PAD

PART = 32  # chunks, of a store 262,144 pairs: what is planned, and held in memory, at a time


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
    """The next batch to read: its epoch, its part of that epoch, and its index in that part; all count from 0."""

    epoch: int = 0
    index: int = 0
    part: int = 0  # a checkpoint of before there were parts lacks it


@runtime_checkable  # so that tests check signatures
class Chunks(Protocol):
    """Encoded pairs in chunks: a `Store`, or a list in memory, which is one chunk."""

    tokens: Integer[np.ndarray, " tokens"]  # of each pair its source ids, then its target ids
    begins: list[int]  # where in `tokens` each chunk begins

    def lengths(self, chunk: int) -> Int[np.ndarray, "pairs 2"]:
        """The number of source and of target ids of each pair of a chunk."""


class _InMemory:
    """A list of pairs as one chunk."""

    def __init__(self, pairs: Sequence[EncodedPair]):
        self._lengths, self.tokens = flatten(pairs, np.dtype(np.int32))
        self.begins = [0]

    def lengths(self, chunk: int) -> Int[np.ndarray, "pairs 2"]:
        assert chunk == 0
        return self._lengths


def make_batch(pairs: Sequence[EncodedPair]) -> Batch:
    """Pad pairs of token ids, both sides ending in EOS, into one batch, in the order given."""
    lengths, tokens = flatten(pairs, np.dtype(np.int32))
    return _batch(tokens, _starts(lengths), lengths)


def _batch(
    tokens: Integer[np.ndarray, " tokens"], starts: Int[np.ndarray, " batch"], lengths: Int[np.ndarray, "batch 2"]
) -> Batch:
    """The batch of the pairs that start there in `tokens`."""
    src, tgt = lengths.T
    tgt_in = _pad(tokens, starts + src - 1, tgt)  # one token behind
    tgt_in[:, 0] = BOS
    src_lengths = torch.from_numpy(src.astype(np.int64))
    return Batch(_pad(tokens, starts, src), src_lengths, tgt_in, _pad(tokens, starts + src, tgt), int(tgt.sum()))


def _pad(
    tokens: Integer[np.ndarray, " tokens"], starts: Int[np.ndarray, " batch"], lengths: Int[np.ndarray, " batch"]
) -> Int64[Tensor, "batch length"]:
    """Rows of so many tokens from each start on, padded with PAD."""
    columns = np.arange(lengths.max())
    real = columns < lengths[:, None]
    padded = np.full(real.shape, PAD, dtype=np.int64)
    padded[real] = tokens[(starts[:, None] + columns)[real]]
    return torch.from_numpy(padded)


def _starts(lengths: Int[np.ndarray, "pairs 2"]) -> Int[np.ndarray, " pairs"]:
    """Where each pair starts, the first at 0."""
    sizes = lengths.sum(axis=1)
    return np.cumsum(sizes) - sizes


class _Part(NamedTuple):
    """Some chunks of a corpus, planned: where each pair starts, its lengths, and the pairs of each batch."""

    place: tuple[int, int]  # its epoch, and which part of that it is
    starts: Int[np.ndarray, " pairs"]
    lengths: Int[np.ndarray, "pairs 2"]
    batches: list[Int[np.ndarray, " batch"]]


class Batches:
    """The batches of a corpus, epoch after epoch: every pair once an epoch, pairs of like length together.

    With `batch_type` "sentences", `size` is the number of pairs in a batch. With "tokens", it is a ceiling on the
    positions of either side, padding included: `batch * src <= size` and `batch * tgt <= size`. A pair longer than that
    makes a batch alone. Each epoch deals pairs of equal lengths anew and shuffles the batches; of more than `PART`
    chunks it deals the chunks into parts and does so within each.

    With `sampling` the pieces of a batch are drawn when it is made, from (seed, epoch, part, index). It is planned by
    the lengths that the corpus has without, so that more pieces may make a batch larger than `size`.
    """

    def __init__(
        self,
        pairs: Sequence[EncodedPair] | Chunks,
        size: int,
        batch_type: Literal["tokens", "sentences"],
        seed: int,
        sampling: Callable[[Sequence[EncodedPair], Sequence[int]], list[EncodedPair]] | None = None,
    ):
        self._chunks = _InMemory(pairs) if isinstance(pairs, Sequence) else pairs
        self._parts = range(-(-len(self._chunks.begins) // PART))
        self._size = size
        self._batch_type = batch_type
        self._seed = seed
        self._sampling = sampling
        self._planned: _Part | None = None

    def len_of_epoch(self, epoch: int) -> int:
        """The number of batches in an epoch."""
        return sum(len(self._part(epoch, part).batches) for part in self._parts)

    def iterate(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        for part in self._parts:
            planned = self._part(epoch, part)
            for index in range(len(planned.batches)):
                yield self._batch(planned, index)

    def stream(self, position: Position, rank: int = 0, size: int = 1) -> Iterator[tuple[Position, Batch]]:
        """Batches without end from `position` on, each with the position after it: the one to resume from.

        Of several processes that read together, `size` batches at a time, each gets the one of its `rank`, with the
        position after all of them. An epoch's last batches go with the first of the next: none is left out.
        """
        for turn, (after, planned, index) in enumerate(self._planned_from(position)):
            if turn % size == rank:
                batch = self._batch(planned, index)
            if turn % size == size - 1:
                yield after, batch

    def _planned_from(self, position: Position) -> Iterator[tuple[Position, _Part, int]]:
        while True:
            epoch, part = position.epoch, position.part
            planned = self._part(epoch, part)
            following = Position(epoch, part=part + 1) if part < self._parts[-1] else Position(epoch + 1)
            for i in range(position.index, len(planned.batches)):
                yield (Position(epoch, i + 1, part) if i + 1 < len(planned.batches) else following), planned, i
            position = following

    def padding_share(self, epoch: int = 0) -> float:
        """The share of an epoch's positions, on both sides, that hold padding: 0 is none."""
        real = padded = 0
        for part in self._parts:
            planned = self._part(epoch, part)
            real += int(planned.lengths.sum())
            padded += sum(len(rows) * int(planned.lengths[rows].max(axis=0).sum()) for rows in planned.batches)
        return 1 - real / padded

    def _batch(self, planned: _Part, index: int) -> Batch:
        rows, tokens = planned.batches[index], self._chunks.tokens
        starts, lengths = planned.starts[rows], planned.lengths[rows]
        if self._sampling is None:
            return _batch(tokens, starts, lengths)
        bounds = np.stack([starts, starts + lengths[:, 0], starts + lengths.sum(1)], axis=1).tolist()
        pairs = [(tokens[src:tgt].tolist(), tokens[tgt:end].tolist()) for src, tgt, end in bounds]
        return make_batch(self._sampling(pairs, (self._seed, *planned.place, index)))

    def _part(self, epoch: int, part: int) -> _Part:
        if self._planned is None or self._planned.place != (epoch, part):
            self._planned = self._plan(epoch, part)
        return self._planned

    def _plan(self, epoch: int, part: int) -> _Part:
        order, rng = np.arange(len(self._chunks.begins)), np.random.default_rng([self._seed, epoch])
        if len(self._parts) > 1:
            order, rng = rng.permutation(order), np.random.default_rng([self._seed, epoch, 1 + part])
        chunks = np.array_split(order, len(self._parts))[part].tolist()
        by_chunk = [self._chunks.lengths(chunk) for chunk in chunks]
        starts = [self._chunks.begins[chunk] + _starts(each) for chunk, each in zip(chunks, by_chunk, strict=True)]
        lengths = np.concatenate(by_chunk)
        return _Part((epoch, part), np.concatenate(starts), lengths, self._deal(lengths, rng))

    def _deal(self, lengths: Int[np.ndarray, "pairs 2"], rng: np.random.Generator) -> list[Int[np.ndarray, " batch"]]:
        """Which pairs form which batch: deal, sort by length, cut where the next pair would not fit, shuffle."""
        costs = lengths.max(axis=1) if self._batch_type == "tokens" else np.ones(len(lengths), dtype=int)
        dealt = rng.permutation(len(lengths))
        src, tgt = lengths[dealt].T
        ordered = dealt[np.lexsort((tgt, src, costs[dealt]))]  # by cost, then src, then tgt; ties as dealt
        cuts = [0]
        for row, cost in enumerate(costs[ordered].tolist()):
            if row > cuts[-1] and (row + 1 - cuts[-1]) * cost > self._size:  # costs ascend: this one is the widest
                cuts.append(row)
        batches = np.split(ordered, cuts[1:])
        return [batches[i] for i in rng.permutation(len(batches))]
