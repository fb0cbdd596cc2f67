"""Pretrained word vectors for an embedding, as they are published: text (GloVe, fastText) or binary (word2vec)."""

import gzip
import io
import zlib
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from seq2seq.errors import UserError
from seq2seq.files import is_file, opened, status
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.shapes import Bool, Float
from seq2seq.text.tokenizer import SPECIALS, Tokenizer, Tokenizers

_KNOWN = {  # the first bytes of files that are not read, and what to do
    b"\xba\x16\x4f\x2f": "a model of fastText: give its .vec file",
    b"PK": "a zip archive: unpack it, and give a file of it",
    b"BZh": "packed with bzip2: unpack it",
    b"\xfd7zXZ": "packed with xz: unpack it",
    b"\x80": "a pickle, which may hold code: save the vectors as text, in gensim with save_word2vec_format",
    b"\x89HDF": "an HDF5 file: save the vectors as text",
}
LARGEST = 100_000  # numbers of a vector
LONGEST_LINE, LONGEST_WORD = 2**22, 2**16  # bytes

Entry = tuple[bytes, list[bytes] | bytes]  # a word, and its numbers as text or as float32


class Vectors(NamedTuple):
    """The vectors of a vocabulary."""

    vectors: Float[Tensor, "vocab dim"]  # zero where the file has none
    found: Bool[Tensor, " vocab"]  # the tokens that have one
    skipped: int  # odd entries of the file


def start_from_vectors(model: Seq2Seq, tokenizers: Tokenizers, files: Mapping[str, str | None]) -> list[str]:
    """Copy pretrained vectors into the embeddings of a model; return one line for each side, for the log.

    The files are the config's `model.pretrained_embeddings`, of `src` and of `tgt`; a side without one stays as it is.

    Raises:
        UserError: a file holds no vectors, or vectors of another size than the embeddings.
    """
    lines = []
    sides = {"src": (tokenizers.src, model.encoder.embedding), "tgt": (tokenizers.tgt, model.decoder.embedding)}
    for side, (tokenizer, embedding) in sides.items():
        if (path := files.get(side)) is None:
            continue
        vectors, found, skipped = load_vectors(path, tokenizer)
        if vectors.size(1) != embedding.embedding_dim:
            raise UserError(
                f"model.pretrained_embeddings.{side} is {path}, with vectors of {vectors.size(1)} numbers; "
                f"set model.embedding_size to {vectors.size(1)} (it is {embedding.embedding_dim})"
            )
        with torch.no_grad():
            embedding.weight[found] = vectors[found].to(embedding.weight)
        odd = f"; skipped {skipped:,} odd {'line' if skipped == 1 else 'lines'} of it" if skipped else ""
        none = "" if found.any() else ": are they of another language, or of words where the tokens are pieces?"
        lines.append(f"{side}: {int(found.sum()):,} of {len(tokenizer):,} tokens start from {path}{odd}{none}")
    return lines


def load_vectors(path: str | Path, tokenizer: Tokenizer) -> Vectors:
    """Read the vectors of the tokens of a vocabulary.

    A line of text is a word and its numbers, with spaces or tabs between; a word may hold spaces. The first line may
    say how many vectors follow, and of how many numbers; only after such a line can vectors be binary. The file may be
    gzipped. If a word comes twice, its first vector counts. Special tokens never have one. Nothing is downloaded.

    A line is odd, and is skipped, if it has too few numbers, no word, a word that is not UTF-8, or, for a word of the
    vocabulary, a number that is none or not finite.

    Raises:
        UserError: the file cannot be read, is of another format, or has more odd lines than others.
    """
    if not is_file(Path(path)):
        problem = "not an ordinary file" if status(Path(path)) else "no such file"
        raise UserError(f"{path}: {problem}; give a local file of word vectors")

    # the tokens to look up
    pieces = tokenizer.pieces(range(len(tokenizer)))
    ids = {piece: i for i, piece in enumerate(pieces) if i >= len(SPECIALS)}
    rows: Float[Tensor, "vocab dim"] | None = None
    found = torch.zeros(len(tokenizer), dtype=torch.bool)
    right = skipped = 0

    # read the entries, and keep the vectors of these tokens
    try:
        with _open(path) as file:
            dim, entries = _read(file, path)
            rows = torch.zeros(len(tokenizer), dim)
            for word, numbers in entries:
                token = _decode(word)
                if not token or len(numbers) != (4 * dim if isinstance(numbers, bytes) else dim):
                    skipped += 1
                    continue
                if (i := ids.get(token)) is not None and not found[i]:
                    vector = _parse(numbers)
                    if vector is None:
                        skipped += 1
                        continue
                    rows[i], found[i] = torch.from_numpy(vector), True
                right += 1
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read: {reason}; give a whole file") from None

    # a file of another format has mostly odd lines
    if skipped > right or not right:
        raise _no_vectors(path, f"{skipped:,} of {right + skipped:,} lines are odd")
    return Vectors(rows, found, skipped)


@contextmanager
def _open(path: str | Path) -> Iterator[io.BufferedReader]:
    """Open a file, and unpack it if it is gzipped, whatever its name; raise UserError if it is known to be unusable."""
    with opened(Path(path)) as file:
        start = file.peek(8)
        for magic, what in _KNOWN.items():
            if start.startswith(magic):
                raise UserError(f"{path}: {what}")
        if not start.startswith(b"\x1f\x8b"):
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield io.BufferedReader(cast(io.RawIOBase, unpacked))


def _read(file: io.BufferedReader, path: str | Path) -> tuple[int, Iterator[Entry]]:
    """Return the size of the vectors in an open file, and its entries."""
    # a first line such as `400000 300`
    lines = _lines(file, path)
    first = next(lines, b"").removeprefix(BOM_UTF8)
    header = first.split() if len(first) < 100 else []
    if len(header) == 2 and all(field.isdigit() for field in header):
        size = int(header[1])
        if not 1 <= size <= LARGEST:
            raise _no_vectors(path, f"the first line speaks of vectors of {size:,} numbers")
        start = file.peek(4096)[:4096]
        is_binary = any(byte < 9 or 13 < byte < 32 for byte in start)
        return size, _binary_entries(file, int(header[0]), size) if is_binary else _text_entries(lines, size)

    # else the size that most of the first lines have
    begin = list(islice(chain([first], lines), 100))
    sizes = Counter(filter(None, map(_count_numbers, begin)))
    if not sizes:
        raise _no_vectors(path, "no line ends with numbers")
    (size, _), *_ = sizes.most_common(1)
    return size, _text_entries(chain(begin, lines), size)


def _lines(file: io.BufferedReader, path: str | Path) -> Iterator[bytes]:
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise _no_vectors(path, f"a line of over {LONGEST_LINE:,} bytes")
        yield line


def _no_vectors(path: str | Path, why: str) -> UserError:
    return UserError(f"{path}: not a file of word vectors: {why}; a line is a word and its numbers")


def _text_entries(lines: Iterable[bytes], size: int) -> Iterator[Entry]:
    for line in lines:
        word, *numbers = line.rstrip().rsplit(None, size) or [b""]
        yield word.strip(), numbers


def _binary_entries(file: io.BufferedReader, count: int, size: int) -> Iterator[Entry]:
    while count and file.peek(1):
        count -= 1
        word = bytearray()
        while (byte := file.read(1)) not in (b" ", b"") and len(word) < LONGEST_WORD:
            word += byte
        yield bytes(word).lstrip(b"\n"), file.read(4 * size)


def _count_numbers(line: bytes) -> int:
    """Count the numbers at the end of a line, of which the first field is never one."""
    count = 0
    for field in reversed(line.split()[1:]):
        if _parse([field]) is None:
            break
        count += 1
    return count


def _parse(numbers: list[bytes] | bytes) -> np.ndarray | None:
    """Return the numbers of an entry; None if one of them is none, or not finite."""
    if isinstance(numbers, bytes):
        vector = np.frombuffer(numbers, "<f4").copy()
    else:
        try:
            vector = np.array(list(map(float, numbers)), dtype=np.float32)
        except ValueError:
            return None
    return vector if np.isfinite(vector).all() else None


def _decode(word: bytes) -> str | None:
    try:
        return word.decode("utf-8")
    except UnicodeDecodeError:
        return None
