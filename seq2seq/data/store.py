"""The token ids of a training corpus on disk, made once and then mapped into memory: any size fits.

lengths.bin    for each pair the number of its source ids and of its target ids
tokens.bin     for each pair its source ids, then its target ids; both end in EOS
store.json     what the store was made from, and for each chunk what was kept, dropped and written

A chunk is `CHUNK` pairs of text, which are tokenized, checked and shuffled together.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, islice
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, NonNegativeInt

from seq2seq.data.corpus import encode_pairs
from seq2seq.data.flat import LENGTH, flatten
from seq2seq.data.report import Report
from seq2seq.data.tables import Row
from seq2seq.errors import UserError
from seq2seq.files import must_write, read_json, replace_text, replacing_folder
from seq2seq.shapes import Int
from seq2seq.text.tokenizer import Tokenizers
from seq2seq.text.vocabularies import load_tokenizers, vocabulary_digests

CHUNK = 8192  # pairs


class Inputs(BaseModel, strict=True, extra="forbid"):
    """The inputs that determine the bytes of a store."""

    chunk: int
    dtype: Literal["<u2", "<i4"]  # of a token id
    max_length: int  # tokens of a side, EOS not counted
    data: dict[str, str]  # digests of the files of the corpus
    tokenizer: dict[str, str]  # digests of the files of the vocabularies

    def digest(self) -> str:
        """Return a digest that is the same if the bytes are: the names of the files of the corpus do not count."""
        return _digest(json.dumps(self.model_dump() | {"data": [*self.data.values()]}, sort_keys=True).encode())


class ChunkRecord(BaseModel, strict=True, extra="forbid"):
    """The record of a chunk of text: pairs kept and dropped, tokens written, and digests."""

    report: Report
    tokens: NonNegativeInt
    lengths_sha256: str
    tokens_sha256: str


class StoreRecord(BaseModel, strict=True, extra="forbid"):
    """The content of `store.json`."""

    inputs: Inputs
    chunks: list[ChunkRecord]

    def report(self) -> Report:
        """Add up the pairs that were kept and dropped in all chunks."""
        return sum((chunk.report for chunk in self.chunks), start=Report(0, 0, 0, self.inputs.max_length))


class Store:
    """The encoded pairs of a corpus on disk, as `Chunks` of `batches.py`; `open_or_build` makes one.

    Raises UserError: `store.json` is damaged, or a file does not have the size that was written.
    """

    def __init__(self, folder: Path):
        # read store.json
        self._folder = folder
        record = read_json(folder / "store.json", StoreRecord, self._fix())
        self.inputs, self.report = record.inputs, record.report()

        # where each chunk begins; chunks without a kept pair are left out
        self._chunks = [chunk for chunk in record.chunks if chunk.report.kept > 0]
        self._unchecked = set(range(len(self._chunks)))
        *self.begins, tokens = accumulate((chunk.tokens for chunk in self._chunks), initial=0)
        *self._first_pairs, pairs = accumulate((chunk.report.kept for chunk in self._chunks), initial=0)

        # map the files
        self.tokens = self._map("tokens.bin", np.dtype(self.inputs.dtype), tokens)
        self._lengths = self._map("lengths.bin", LENGTH, 2 * pairs).reshape(-1, 2)

    def lengths(self, chunk: int) -> Int[np.ndarray, "pairs 2"]:
        """Return the lengths of the pairs of a chunk; at its first use, raise UserError if its bytes are damaged."""
        record, begin, first = self._chunks[chunk], self.begins[chunk], self._first_pairs[chunk]
        lengths = self._lengths[first : first + record.report.kept]
        if chunk in self._unchecked:
            if _digest(self.tokens[begin : begin + record.tokens].tobytes()) != record.tokens_sha256:
                raise self._damaged("tokens.bin", "not what was written")
            fits = lengths.min() > 0 and lengths.sum() == record.tokens
            if _digest(lengths.tobytes()) != record.lengths_sha256 or not fits:
                raise self._damaged("lengths.bin", "not what was written")
            self._unchecked.remove(chunk)
        return lengths

    def _map(self, name: str, dtype: np.dtype, size: int) -> np.ndarray:
        try:
            found, expected = (self._folder / name).stat().st_size, size * dtype.itemsize
            if found != expected:
                raise self._damaged(name, f"{found:,} bytes where {expected:,} were written")
            return np.asarray(np.memmap(self._folder / name, dtype, mode="r"))
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise self._damaged(name, getattr(error, "strerror", None) or str(error)) from None

    def _damaged(self, name: str, reason: str) -> UserError:
        return UserError(f"{self._folder / name}: damaged, {reason}; {self._fix()}")

    def _fix(self) -> str:
        return f"delete {self._folder}, and training with --resume makes it again"


def store_inputs(tokenizers: Path, vocabularies: Tokenizers, max_length: int, data: Mapping[str, str]) -> Inputs:
    """Return the inputs of a store; `open_or_build` explains the arguments, and `vocabularies` are the loaded ones."""
    return Inputs(
        chunk=CHUNK,
        dtype="<u2" if max(len(vocabularies.src), len(vocabularies.tgt)) <= 2**16 else "<i4",
        max_length=max_length,
        data=dict(data),
        tokenizer=vocabulary_digests(tokenizers),
    )


def open_or_build(
    folder: Path, rows: Iterable[Row], tokenizers: Path, max_length: int, data: Mapping[str, str]
) -> Store:
    """Open the store in a folder if it was built from the same inputs, else build it.

    `rows`, the corpus as it stands, is read only if a store must be built. `tokenizers` is the folder of the
    vocabularies, `max_length` is in tokens of a side without EOS, and `data` holds the digests of the corpus.

    Raises UserError: what `rows` raises, no pair is left, the store is damaged, or cannot be written.
    """
    # open it if it was built from the same inputs
    vocabularies = load_tokenizers(tokenizers)
    inputs = store_inputs(tokenizers, vocabularies, max_length, data)
    if folder.exists() and (store := Store(folder)).inputs.digest() == inputs.digest():
        return store

    # build it under a hidden name, and rename it when it is complete
    with must_write(folder, "mend that and go on with --resume"), replacing_folder(folder) as new:
        _write(new, iter(rows), vocabularies, inputs)
    return Store(folder)


def _write(folder: Path, rows: Iterator[Row], tokenizers: Tokenizers, inputs: Inputs) -> None:
    store = StoreRecord(inputs=inputs, chunks=[])
    with open(folder / "lengths.bin", "wb") as lengths_file, open(folder / "tokens.bin", "wb") as tokens_file:
        while chunk := list(islice(rows, CHUNK)):
            # append what is kept
            pairs, report = encode_pairs(chunk, tokenizers.src, tokenizers.tgt, inputs.max_length)
            lengths, tokens = flatten(pairs, np.dtype(inputs.dtype))
            lengths_file.write(lengths.tobytes())
            tokens_file.write(tokens.tobytes())

            # remember what was written
            digests = {"lengths_sha256": _digest(lengths.tobytes()), "tokens_sha256": _digest(tokens.tobytes())}
            store.chunks.append(ChunkRecord(report=report, tokens=len(tokens), **digests))

    store.report().must_keep_a_pair()
    replace_text(folder / "store.json", store.model_dump_json(indent=1) + "\n")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
