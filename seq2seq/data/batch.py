"""A batch of sentence pairs, padded to equal lengths."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq.data.corpus import EncodedPair
from seq2seq.shapes import Int64
from seq2seq.text.tokenizer import BOS, PAD


class Batch(NamedTuple):
    """Token ids of a batch of sentence pairs, padded with PAD."""

    src: Int64[Tensor, "batch src"]  # every sentence ends in EOS
    src_lengths: Int64[Tensor, " batch"]  # EOS included
    tgt_in: Int64[Tensor, "batch tgt"]  # BOS y_1 ... y_n: what the decoder reads
    tgt_out: Int64[Tensor, "batch tgt"]  # y_1 ... y_n EOS: what the decoder must predict
    tokens: int  # number of target tokens, with EOS, without padding

    def to(self, device: torch.device | str) -> "Batch":
        """Copy the batch to another device."""
        src, src_lengths, tgt_in, tgt_out = (tensor.to(device, non_blocking=True) for tensor in self[:4])
        return Batch(src, src_lengths, tgt_in, tgt_out, self.tokens)


def make_batch(pairs: Sequence[EncodedPair]) -> Batch:
    """Pad pairs of token ids, both sides ending in EOS, into one batch, in the order given."""
    sources, targets = [src for src, _ in pairs], [tgt for _, tgt in pairs]
    tgt_in = _pad([[BOS, *target[:-1]] for target in targets])
    lengths = torch.tensor([len(source) for source in sources])
    return Batch(_pad(sources), lengths, tgt_in, _pad(targets), sum(map(len, targets)))


def _pad(rows: list[list[int]]) -> Int64[Tensor, "batch length"]:
    width = max(map(len, rows))
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])
