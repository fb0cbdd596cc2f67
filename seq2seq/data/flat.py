"""Pairs of token ids in one row of numbers, as a store has them on disk, and batches made from there.

A pair is known by its start in the row, and by the lengths of its source and its target. `make_batch` makes the same
batch from lists, many times more slowly.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from seq2seq.data.batch import Batch
from seq2seq.data.corpus import EncodedPair
from seq2seq.shapes import Int, Int64, Integer
from seq2seq.text.tokenizer import BOS, PAD

LENGTH = np.dtype("<i4")


def flatten(
    pairs: Sequence[EncodedPair], dtype: np.dtype
) -> tuple[Int[np.ndarray, "pairs 2"], Integer[np.ndarray, " n"]]:
    """Return the lengths of pairs of token ids, and all their ids in a row: a source, its target, the next source."""
    lengths = np.array([(len(src), len(tgt)) for src, tgt in pairs], LENGTH).reshape(-1, 2)
    return lengths, np.fromiter(chain.from_iterable(chain.from_iterable(pairs)), dtype, int(lengths.sum()))


class InMemory:
    """Pairs in memory, as one of the `Chunks` of `batches.py`."""

    def __init__(self, pairs: Sequence[EncodedPair]):
        self._lengths, self.tokens = flatten(pairs, np.dtype(np.int32))
        self.begins = [0]

    def lengths(self, chunk: int) -> Int[np.ndarray, "pairs 2"]:
        """Return the lengths of all pairs."""
        return self._lengths


def cut_pairs(
    tokens: Integer[np.ndarray, " tokens"], starts: Int[np.ndarray, " batch"], lengths: Int[np.ndarray, "batch 2"]
) -> list[EncodedPair]:
    """Return the pairs that start at `starts` in `tokens`, as lists."""
    middles, ends = starts + lengths[:, 0], starts + lengths.sum(axis=1)
    bounds = zip(starts.tolist(), middles.tolist(), ends.tolist(), strict=True)
    return [(tokens[start:middle].tolist(), tokens[middle:end].tolist()) for start, middle, end in bounds]


def pad_pairs(
    tokens: Integer[np.ndarray, " tokens"], starts: Int[np.ndarray, " batch"], lengths: Int[np.ndarray, "batch 2"]
) -> Batch:
    """Make a batch of the pairs that start at `starts` in `tokens`."""
    src, tgt = lengths.T
    tgt_in = _pad(tokens, starts + src - 1, tgt)  # the target, one token later
    tgt_in[:, 0] = BOS
    src_lengths = torch.from_numpy(src.astype(np.int64))
    return Batch(_pad(tokens, starts, src), src_lengths, tgt_in, _pad(tokens, starts + src, tgt), int(tgt.sum()))


def _pad(
    tokens: Integer[np.ndarray, " tokens"], starts: Int[np.ndarray, " batch"], lengths: Int[np.ndarray, " batch"]
) -> Int64[Tensor, "batch length"]:
    """Copy a row of tokens from each start, as many as `lengths` says, padded with PAD."""
    columns = np.arange(lengths.max())
    real = columns < lengths[:, None]
    padded = np.full(real.shape, PAD, dtype=np.int64)
    padded[real] = tokens[(starts[:, None] + columns)[real]]
    return torch.from_numpy(padded)
