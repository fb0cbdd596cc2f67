"""The token ids of a training corpus on disk: made once, mapped into memory, so that memory does not grow with it.

store.json     what it was made from            chunks.jsonl   a line a chunk: the pairs kept and dropped, digests
lengths.bin    of each pair kept the number of its source ids and of its target ids
tokens.bin     of each pair kept its source ids, then its target ids; both end in EOS

A chunk is `CHUNK` pairs of text: what one process tokenizes, what is checked as one, and what an epoch moves as one.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Int, Integer

from seq2seq.data.corpus import Report, encode_pairs
from seq2seq.data.worker import in_order
from seq2seq.errors import UserError
from seq2seq.files import publish
from seq2seq.text.tokenizer import Tokenizers, load_tokenizers

CHUNK = 8192  # pairs
FEW = 8  # chunks: less is done sooner without other processes
PROCESSES = min(os.cpu_count() or 1, 8)

EncodedPair = tuple[list[int], list[int]]
Row = tuple[str, str]  # source and target as they stand in the corpus

_FILES = ("lengths.bin", "tokens.bin", "chunks.jsonl")
_LENGTH = np.dtype("<i4")


@dataclass(frozen=True)
class Encoding:
    """How text becomes the bytes of a store."""

    tokenizers: Path  # the folder of the vocabularies
    max_length: int  # tokens a side, EOS not counted; longer pairs are dropped
    dtype: np.dtype  # of a token id


class Chunk(NamedTuple):
    """What became of a chunk of text: a line of `chunks.jsonl`."""

    kept: int
    blank: int
    too_long: int
    tokens: int
    sha256: list[str]  # of its lengths and of its tokens
    cleaned: int = 0  # not counted in stores of version 0.1.0


class Store:
    """The encoded pairs of a corpus on disk, in chunks; `prepare` makes one.

    Attributes:
        report: what was kept and dropped.
        tokens: the ids of all pairs, mapped into memory.
        begins: where in `tokens` each chunk begins.
    """

    def __init__(self, folder: Path, encoding: Encoding):
        self._folder = folder
        try:
            chunks = [Chunk(**json.loads(line)) for line in (folder / "chunks.jsonl").read_bytes().splitlines()]
        except (OSError, ValueError, TypeError) as error:
            raise self._damaged("chunks.jsonl", str(error)) from None
        self.report = _report(chunks, encoding)
        self._chunks = [chunk for chunk in chunks if chunk.kept]
        *self.begins, tokens = accumulate((chunk.tokens for chunk in self._chunks), initial=0)
        *self._first_pairs, pairs = accumulate((chunk.kept for chunk in self._chunks), initial=0)
        self.tokens = self._mapped("tokens.bin", encoding.dtype, tokens)
        self._lengths = self._mapped("lengths.bin", _LENGTH, 2 * pairs).reshape(-1, 2)
        self._unchecked = set(range(len(self._chunks)))

    def lengths(self, chunk: int) -> Int[np.ndarray, "pairs 2"]:
        """The number of source and of target ids of each pair of a chunk, which is checked when first asked for.

        Raises:
            UserError: its bytes are not what was written.
        """
        first, begin = self._first_pairs[chunk], self.begins[chunk]
        written = self._chunks[chunk]
        lengths = self._lengths[first : first + written.kept]
        if chunk in self._unchecked:
            tokens = self.tokens[begin : begin + written.tokens]
            found = _digests(lengths.tobytes(), tokens.tobytes())
            for name, digest, expected in zip(_FILES, found, written.sha256, strict=False):
                if digest != expected:
                    raise self._damaged(name, "not what was written")
            self._unchecked.remove(chunk)
        return lengths

    def _mapped(self, name: str, dtype: np.dtype, size: int) -> np.ndarray:
        try:
            found, expected = (self._folder / name).stat().st_size, size * dtype.itemsize
            if found != expected:
                raise self._damaged(name, f"{found:,} bytes where {expected:,} were written")
            return np.asarray(np.memmap(self._folder / name, dtype, mode="r"))
        except OSError as error:
            raise self._damaged(name, str(error.strerror)) from None

    def _damaged(self, name: str, reason: str) -> UserError:
        fix = f"delete {self._folder}, and training with --resume makes it again"
        return UserError(f"{self._folder / name}: damaged, {reason}; {fix}")


def prepare(folder: Path, rows: Iterable[Row], tokenizers: Path, max_length: int, data: Mapping[str, str]) -> Store:
    """The store in a folder where it was made of the same, else a new one.

    It is written beside the folder, which it becomes when whole; where that was stopped, it goes on after the last
    whole chunk.

    Args:
        folder: where the store lies, in a folder that is there.
        rows: the training corpus, not yet normalized.
        tokenizers: the folder of the vocabularies.
        max_length: tokens a side, EOS not counted; longer pairs are dropped.
        data: digests of the corpus' files.

    Raises:
        UserError: what `rows` raises, no pair is left, the store is damaged, or cannot be written.
    """
    vocabularies = load_tokenizers(tokenizers)
    dtype = np.dtype("<u2" if max(len(vocabularies.src), len(vocabularies.tgt)) <= 2**16 else "<i4")
    encoding = Encoding(tokenizers, max_length, dtype)
    made_from = {
        "format": 1,
        "chunk": CHUNK,
        "dtype": dtype.str,
        "max_length": max_length,
        "data": dict(data),
        "tokenizer": {file.name: _digests(file.read_bytes()) for file in sorted(tokenizers.iterdir())},
    }
    try:
        if not _is_made_from(folder, made_from):
            unfinished = _unfinished(folder)
            if not _is_made_from(unfinished, made_from):
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                (unfinished / "store.json").write_text(json.dumps(made_from, indent=2) + "\n", encoding="utf-8")
            _write(unfinished, iter(rows), encoding)
            publish(unfinished, folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}; mend that and go on with --resume") from None
    return Store(folder, encoding)


def remove(folder: Path) -> None:
    """Delete the store in a folder, and what was written of one."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(_unfinished(folder), ignore_errors=True)


def flatten(
    pairs: Sequence[EncodedPair], dtype: np.dtype
) -> tuple[Int[np.ndarray, "pairs 2"], Integer[np.ndarray, " n"]]:
    """The lengths of pairs of token ids, and all their ids in a row: a source, its target, the next source."""
    lengths = np.array([(len(src), len(tgt)) for src, tgt in pairs], _LENGTH).reshape(-1, 2)
    return lengths, np.fromiter(chain.from_iterable(chain.from_iterable(pairs)), dtype, int(lengths.sum()))


def _unfinished(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}")


def _is_made_from(folder: Path, made_from: dict[str, Any]) -> bool:
    try:
        return bool(json.loads((folder / "store.json").read_bytes()) == made_from)
    except (OSError, ValueError):
        return False


def _write(folder: Path, rows: Iterator[Row], encoding: Encoding) -> None:
    """Add to the files of an unfinished store what they lack of a corpus."""
    with ExitStack() as stack:
        lengths, tokens, journal = files = [stack.enter_context(open(folder / name, "a+b")) for name in _FILES]
        chunks = _whole_chunks(lengths, tokens, journal, encoding)
        rows = islice(rows, _report(chunks, encoding).total, None)
        for *data, chunk in stack.enter_context(closing(_encoded(rows, encoding))):
            chunks.append(chunk)
            for file, written in zip(files, (*data, json.dumps(chunk._asdict()).encode() + b"\n"), strict=True):
                file.write(written)
                file.flush()  # the journal last: what it tells of is there
        _report(chunks, encoding).must_keep_a_pair()
        for file in files:
            os.fsync(file.fileno())


def _whole_chunks(lengths: BinaryIO, tokens: BinaryIO, journal: BinaryIO, encoding: Encoding) -> list[Chunk]:
    """The chunks up to the first that is not whole, where the files are cut, ready to be written on."""
    files, chunks, ends = (lengths, tokens, journal), [], (0, 0, 0)
    for file in files:
        file.seek(0)
    with suppress(ValueError, TypeError):  # a damaged line; one that was cut short has no line feed
        while (line := journal.readline()).endswith(b"\n"):
            chunk = Chunk(**json.loads(line))
            sizes = 2 * chunk.kept * _LENGTH.itemsize, chunk.tokens * encoding.dtype.itemsize
            if _digests(lengths.read(sizes[0]), tokens.read(sizes[1])) != chunk.sha256:
                break
            chunks.append(chunk)
            ends = lengths.tell(), tokens.tell(), journal.tell()
    for file, end in zip(files, ends, strict=True):
        file.truncate(end)
    return chunks


def _encoded(rows: Iterator[Row], encoding: Encoding) -> Generator[tuple[bytes, bytes, Chunk], None, None]:
    """The lengths and the tokens of each chunk of a corpus, in order."""
    chunks = iter(lambda: list(islice(rows, CHUNK)), [])
    tokenizers = load_tokenizers(encoding.tokenizers)
    for chunk in islice(chunks, FEW):
        yield _encode(chunk, tokenizers, encoding)
    yield from in_order(_encode_there, ((chunk, encoding) for chunk in chunks), PROCESSES)


def _encode(rows: list[Row], tokenizers: Tokenizers, encoding: Encoding) -> tuple[bytes, bytes, Chunk]:
    kept, report = encode_pairs(rows, tokenizers.src, tokenizers.tgt, encoding.max_length)
    lengths, tokens = flatten(kept, encoding.dtype)
    data = lengths.tobytes(), tokens.tobytes()
    return *data, Chunk(report.kept, report.blank, report.too_long, len(tokens), _digests(*data), report.cleaned)


_loaded = lru_cache(maxsize=1)(load_tokenizers)


def _encode_there(rows: list[Row], encoding: Encoding) -> tuple[bytes, bytes, Chunk]:
    """`_encode` in a worker, which loads the vocabularies once."""
    return _encode(rows, _loaded(encoding.tokenizers), encoding)


def _report(chunks: Iterable[Chunk], encoding: Encoding) -> Report:
    longest = encoding.max_length
    reports = (Report(chunk.kept, chunk.blank, chunk.too_long, longest, chunk.cleaned) for chunk in chunks)
    return sum(reports, start=Report(0, 0, 0, longest))


def _digests(*data: bytes) -> list[str]:
    return [hashlib.sha256(each).hexdigest() for each in data]
