"""Batches of sentence pairs of similar length. Seed and epoch determine their order, which can start anywhere.

The plan of an epoch says which pairs form which batch. It depends only on corpus, batch size, seed and epoch.
So a resumed run needs only the position of its next batch. A large corpus is planned a part at a time: each
epoch shuffles its chunks and divides them into parts of about `PART` chunks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from seq2seq.data.batch import Batch, make_batch
from seq2seq.data.corpus import EncodedPair
from seq2seq.data.flat import InMemory, cut_pairs, pad_pairs
from seq2seq.shapes import Int, Integer

PART = 32  # chunks at most, which are planned together and held in memory; in a store these are 262,144 pairs


@dataclass(frozen=True)
class Position:
    """The next batch to read: its epoch, its part of that epoch, and its index in that part; all count from 0."""

    epoch: int = 0
    index: int = 0
    part: int = 0


@runtime_checkable  # so that tests check signatures
class Chunks(Protocol):
    """Encoded pairs in chunks: a `Store`, or a list in memory that forms one chunk."""

    tokens: Integer[np.ndarray, " tokens"]  # of each pair its source ids, then its target ids
    begins: list[int]  # where in `tokens` each chunk begins

    def lengths(self, chunk: int) -> Int[np.ndarray, "pairs 2"]:
        """Return the number of source and of target ids of each pair of a chunk."""


class Plan(NamedTuple):
    """A part of an epoch: which pairs form which batch. A pair is a row of `starts` and `lengths`."""

    epoch: int
    part: int
    starts: Int[np.ndarray, " pairs"]  # where in `Chunks.tokens` each pair starts
    lengths: Int[np.ndarray, "pairs 2"]  # the number of its source and of its target ids
    batches: list[Int[np.ndarray, " batch"]]  # the rows of each batch


class Batches:
    """The batches of a corpus, epoch after epoch. Every epoch has each pair once; pairs of similar length are together.

    With `batch_type` "sentences", `size` is the number of pairs in a batch. With "tokens", it is a ceiling on the
    positions of either side, padding included: `batch * src <= size` and `batch * tgt <= size`. A pair longer than that
    is a batch of its own. Each epoch shuffles the pairs of equal lengths and the batches.

    With `sampling`, the tokens of a batch are drawn anew when it is made, from (seed, epoch, part, index). The plan
    uses the lengths before sampling, so that a batch with more tokens may be larger than `size`.
    """

    def __init__(
        self,
        pairs: Sequence[EncodedPair] | Chunks,
        size: int,
        batch_type: Literal["tokens", "sentences"],
        seed: int,
        sampling: Callable[[Sequence[EncodedPair], Sequence[int]], list[EncodedPair]] | None = None,
    ):
        self._chunks = InMemory(pairs) if isinstance(pairs, Sequence) else pairs
        self._parts = -(-len(self._chunks.begins) // PART)  # rounded up
        self._size, self._batch_type, self._seed, self._sampling = size, batch_type, seed, sampling

    def iterate(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        for plan in self.plans(epoch):
            for index in range(len(plan.batches)):
                yield self._make(plan, index)

    def stream(self, position: Position, rank: int = 0, size: int = 1) -> Iterator[tuple[Position, Batch]]:
        """Yield batches without end, each with the position after it, from which a training resumes.

        Several processes share the batches: of each `size` consecutive batches, the process gets the one of its
        `rank`, and the position after all of them. The last batches of an epoch may go together with the first of
        the next epoch, so no batch is left out.
        """
        dealt: list[tuple[Plan, int]] = []  # the batches of the first ranks, until every process has one
        while True:
            epoch, part = position.epoch, position.part
            plan = self._plan(epoch, part)
            next_part = Position(epoch, part=part + 1) if part + 1 < self._parts else Position(epoch + 1)
            for index in range(position.index, len(plan.batches)):
                dealt.append((plan, index))
                if len(dealt) == size:
                    is_last = index + 1 == len(plan.batches)
                    yield next_part if is_last else Position(epoch, index + 1, part), self._make(*dealt[rank])
                    dealt = []
            position = next_part

    def plans(self, epoch: int) -> Iterator[Plan]:
        """Yield the plan of each part of an epoch."""
        return (self._plan(epoch, part) for part in range(self._parts))

    def _plan(self, epoch: int, part: int) -> Plan:
        """Plan a part of an epoch: shuffle its pairs, sort them by length, cut them into batches, shuffle those."""
        # the chunks: all chunks of a small corpus; in a large corpus those that the epoch assigns to this part
        chosen, rng = np.arange(len(self._chunks.begins)), np.random.default_rng([self._seed, epoch])
        if self._parts > 1:
            chosen = np.array_split(rng.permutation(chosen), self._parts)[part]
            rng = np.random.default_rng([self._seed, epoch, 1 + part])

        # the start and the length of each pair
        by_chunk = [self._chunks.lengths(chunk) for chunk in chosen.tolist()]
        lengths, starts = np.concatenate(by_chunk), []
        for chunk, sizes in zip(chosen, (each.sum(axis=1) for each in by_chunk), strict=True):
            starts.append(self._chunks.begins[chunk] + np.cumsum(sizes) - sizes)  # the sum of the sizes before

        # shuffle, then sort by the longer side, then by source and target (for `lexsort` the last key is the first);
        # pairs of equal lengths stay shuffled; where sentences are counted, each is one wide
        shuffled = rng.permutation(len(lengths))
        src, tgt = lengths[shuffled].T
        widths = np.maximum(src, tgt) if self._batch_type == "tokens" else np.ones(len(lengths), dtype=int)
        by_length = np.lexsort((tgt, src, widths))
        rows, widths = shuffled[by_length], widths[by_length]

        # cut before a pair that does not fit: it is the longest so far, so all would be padded to its length
        cuts = [0]
        for i, width in enumerate(widths.tolist()):
            if i > cuts[-1] and (i + 1 - cuts[-1]) * width > self._size:
                cuts.append(i)
        batches = np.split(rows, cuts[1:])

        # shuffle the batches
        return Plan(epoch, part, np.concatenate(starts), lengths, [batches[i] for i in rng.permutation(len(batches))])

    def _make(self, plan: Plan, index: int) -> Batch:
        """Make a batch that was planned."""
        rows, tokens = plan.batches[index], self._chunks.tokens
        starts, lengths = plan.starts[rows], plan.lengths[rows]
        if self._sampling is None:
            return pad_pairs(tokens, starts, lengths)

        # draw new tokens for the same texts
        pairs = cut_pairs(tokens, starts, lengths)
        return make_batch(self._sampling(pairs, (self._seed, plan.epoch, plan.part, index)))
