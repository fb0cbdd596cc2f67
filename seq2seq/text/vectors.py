"""Pretrained word vectors for an embedding, read with torchtext from a local text file (GloVe, word2vec, fastText)."""

import contextlib
import gzip
import io
import math
import ssl
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seq2seq.errors import UserError
from seq2seq.files import is_file
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.scratch import temporary_folder
from seq2seq.text.tokenizer import SPECIALS, Tokenizer, Tokenizers

LONGEST_LINE = 2**20  # bytes
_FORMAT = "a line is a word and its numbers with single spaces between"


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
        vectors, found = load_vectors(path, tokenizer)
        if vectors.size(1) != embedding.embedding_dim:
            raise UserError(
                f"model.pretrained_embeddings.{side} is {path}, with vectors of {vectors.size(1)} numbers; "
                f"set model.embedding_size to {vectors.size(1)} (it is {embedding.embedding_dim})"
            )
        with torch.no_grad():
            embedding.weight[found] = vectors[found].to(embedding.weight)
        lines.append(f"{side}: {int(found.sum()):,} of {len(tokenizer):,} tokens start from {path}")
    return lines


def load_vectors(path: str | Path, tokenizer: Tokenizer) -> tuple[Float[Tensor, "vocab dim"], Bool[Tensor, " vocab"]]:
    """Return the vectors of the tokens of a vocabulary, zero where there is none, and which tokens have one.

    Each line of the file is a word and its numbers, separated by single spaces; the file may be gzipped (`.gz`).
    Special tokens never have a vector, nor does a word that is not UTF-8. Nothing is downloaded, and nothing is written
    beside the file.

    Raises:
        UserError: the file cannot be read, or a line (it is named) does not hold as many finite numbers as the first.
    """
    from torchtext.vocab import Vectors

    # read the file
    if not is_file(Path(path)):
        raise UserError(f"{path}: no such file; give a local text file of word vectors")
    try:
        with _open(path) as file:
            first = file.read(LONGEST_LINE)
            block = first
            while block:
                if len(block) == LONGEST_LINE and b"\n" not in block:
                    raise UserError(f"{path}: a line of more than {LONGEST_LINE:,} bytes; {_FORMAT}")
                block = file.read(LONGEST_LINE)
        with _undo_side_effects() as cache:
            vectors = Vectors(name=str(path), cache=cache)
    except (RuntimeError, ValueError, TypeError, EOFError, OSError, zlib.error):
        raise UserError(_first_fault(path) or f"{path}: not a file of word vectors; {_FORMAT}") from None
    if first.startswith(BOM_UTF8):
        raise UserError(f"{path}:1: begins with a byte order mark, which would belong to a word; save it without")

    # look up the tokens
    rows = torch.zeros(len(tokenizer), vectors.dim)
    found = torch.zeros(len(tokenizer), dtype=torch.bool)
    for i, piece in enumerate(tokenizer.pieces(range(len(tokenizer)))):
        if i >= len(SPECIALS) and piece in vectors.stoi:
            rows[i], found[i] = vectors[piece], True

    # check what torchtext accepts silently: words that are not UTF-8, lines cut after one number, nan and inf
    skipped = len(vectors.vectors) > len(vectors.itos)
    if (skipped or not rows.isfinite().all()) and (fault := _first_fault(path)):
        raise UserError(fault)
    return rows, found


@contextlib.contextmanager
def _undo_side_effects() -> Iterator[str]:
    """Yield a cache folder for torchtext's `Vectors`, and undo what it does: TLS verification off, a progress bar."""
    https_context = ssl._create_default_https_context
    try:
        with temporary_folder("seq2seq-vectors-") as cache, contextlib.redirect_stderr(io.StringIO()):
            yield str(cache)
    finally:
        ssl._create_default_https_context = https_context


def _open(path: str | Path) -> io.BufferedIOBase:
    return gzip.open(path) if str(path).endswith(".gz") else open(path, "rb")


def _first_fault(path: str | Path) -> str | None:
    """Describe the first line that is wrong; return None if all are right."""
    size = None  # of a vector
    try:
        with _open(path) as file:
            for number, line in enumerate(file, start=1):
                # the header of word2vec: how many vectors, of how many numbers
                numbers = line.rstrip().split(b" ")[1:]
                if number == 1 and len(numbers) == 1:
                    continue

                # as many numbers as in the first line, all of them finite
                size = size or len(numbers)
                if size < 3 or len(numbers) != size:
                    needed = max(size, 3)
                    return f"{path}:{number}: {len(numbers):,} numbers after the word; every line needs {needed:,}"
                try:
                    finite = all(map(math.isfinite, map(float, numbers)))
                except ValueError as error:
                    return f"{path}:{number}: {error!s:.80}; {_FORMAT}"
                if not finite:
                    return f"{path}:{number}: a number is not finite; write it out, or leave the word out"
    except (OSError, EOFError, zlib.error) as error:
        return f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}; give a whole file"
    return None
