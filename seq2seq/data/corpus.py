"""Reading parallel text, checking it, and turning it into token ids.

A line is what stands between two line feeds and nothing else, so a stray U+2028 or form feed never shifts one side of
a corpus against the other.
"""

import gzip
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, Self

from seq2seq.errors import UserError
from seq2seq.text.normalize import is_broken, normalize
from seq2seq.text.tokenizer import EOS, Tokenizer

LONGEST_TOKEN = 64
"""Characters of a token, on the average of a line: one of more is too long before anyone has counted its tokens.

A piece of sentencepiece has 16 at most.
"""

_TABLES = (".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz")


class Pair(NamedTuple):
    """A sentence and its translation, normalized text."""

    src: str
    tgt: str

    @classmethod
    def normalized(cls, src: str, tgt: str) -> Self:
        """The pair of two lines as they stand in a file."""
        return cls(normalize(src), normalize(tgt))


@dataclass(frozen=True)
class Report:
    """What became of the pairs of a corpus; as a string, the one line that a log shows."""

    kept: int
    blank: int
    too_long: int
    max_length: int
    cleaned: int = 0  # of all that were read, those with characters that are `is_broken`

    @property
    def total(self) -> int:
        """The number of pairs that were read."""
        return self.kept + self.blank + self.too_long

    def __add__(self, other: "Report") -> "Report":
        blank, too_long = self.blank + other.blank, self.too_long + other.too_long
        return Report(self.kept + other.kept, blank, too_long, self.max_length, self.cleaned + other.cleaned)

    def must_keep_a_pair(self) -> None:
        """Raise UserError where no pair is left."""
        if not self.kept:
            raise UserError(f"no sentence pair is left: {self}; raise data.max_length or check the corpus")

    def __str__(self) -> str:
        cleaned = f"; cleaned {self.cleaned:,} with control or broken characters" if self.cleaned else ""
        return (
            f"kept {self.kept:,} of {self.total:,} pairs; "
            f"dropped {self.blank:,} blank and {self.too_long:,} longer than {self.max_length:,} tokens{cleaned}"
        )


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file, unpacked where its name ends in `.gz`, as they stand: not yet normalized.

    Lines end with a line feed; a carriage return before it and a byte order mark at the start of the file are removed.

    Raises:
        UserError: no such file, a directory, broken gzip, or bad UTF-8 (with its line and byte).
    """
    return list(stream_lines(path))


def stream_lines(path: str | Path) -> Iterator[str]:
    """The lines that `read_lines` gives, one by one: a file of any size takes the memory of a line."""
    with _users_to_mend(path), open(path, "rb") as file:
        unpacked = io.BufferedReader(gzip.GzipFile(fileobj=file)) if str(path).endswith(".gz") else file
        yield from decode_lines(unpacked, str(path))


def decode_lines(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """The lines of an open binary file, as `read_lines` gives them, one by one; `name` stands in errors."""
    with _users_to_mend(name):
        for number, line in enumerate(lines, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
                if not line:
                    return
            yield _decode(line.removesuffix(b"\n").removesuffix(b"\r"), f"{name}:{number}")


def read_bytes(path: str | Path) -> bytes:
    """A file's content, unpacked where its name ends in `.gz`.

    Raises:
        UserError: it cannot be read, or is no whole gzip file.
    """
    with _users_to_mend(path):
        data = Path(path).read_bytes()
        return gzip.decompress(data) if str(path).endswith(".gz") else data


@contextmanager
def _users_to_mend(path: str | Path) -> Iterator[None]:
    """What may go wrong in reading a file, as a UserError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: not a whole gzip file ({error}); pack it again") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str | Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be read: {error.strerror}; give a file that can be")


def _decode(line: bytes, place: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = f"byte {error.start + 1} of the line (0x{line[error.start]:02x}) is not UTF-8"
        raise UserError(f"{place}: {bad}; convert the file to UTF-8, for example with iconv") from None


def read_pairs(prefix: str | Path, src: str, tgt: str) -> list[Pair]:
    """The normalized sentence pairs of the corpus named by `prefix`, in file order, blank ones included.

    Raises:
        UserError: as `stream_pairs`.
    """
    return [Pair.normalized(*row) for row in stream_pairs(prefix, src, tgt)]


def stream_pairs(prefix: str | Path, src: str, tgt: str) -> Iterator[tuple[str, str]]:
    """The sentence pairs of the corpus named by `prefix`, as they stand, one by one: a line of each side in memory.

    The first of these that exists is read: `prefix` itself, a `.tsv` or `.jsonl` file; `prefix.src` beside
    `prefix.tgt`, with the language codes given; `prefix.tsv`; `prefix.jsonl`. Each may be gzipped, with `.gz` at the
    end. A TSV row has two cells, source then target; a JSONL row is an object with the codes as keys.

    Raises:
        UserError: nothing found, an empty corpus, sides of different length, or a bad row, with its file and line; each
            when the stream gets there.
    """
    files = corpus_files(prefix, src, tgt)
    empty = True
    for row in _stream_sides(*files) if len(files) == 2 else _stream_table(files[0], src, tgt):
        empty = False
        yield row
    if empty:
        raise UserError(f"{files[0]}: empty; a corpus needs at least one sentence pair")


def corpus_files(prefix: str | Path, src: str, tgt: str) -> list[str]:
    """The table, or the two sides, that `stream_pairs` reads.

    Raises:
        UserError: nothing found.
    """
    prefix = str(prefix)
    if prefix.endswith(_TABLES):
        if not _exists(prefix):
            raise UserError(f"{prefix}: no such file; data names a table by its whole name, or the prefix of two files")
        return [prefix]
    src_file, tgt_file = _existing(f"{prefix}.{src}"), _existing(f"{prefix}.{tgt}")
    if src_file and tgt_file:
        return [src_file, tgt_file]
    if table := next((prefix + end for end in _TABLES if _exists(prefix + end)), None):
        return [table]
    found = f"only {src_file or tgt_file} exists" if src_file or tgt_file else "nothing found"
    if _exists(prefix) and prefix.endswith((f".{src}", f".{tgt}")):
        found = f"that is one side; write {prefix.rsplit('.', 1)[0]}"
    looked = f"{prefix}.{src} with {prefix}.{tgt}, {prefix}.tsv and {prefix}.jsonl, each with or without .gz"
    raise UserError(f"no corpus at {prefix}: {found}; looked for {looked}")


def _existing(path: str) -> str | None:
    return next((name for name in (path, f"{path}.gz") if _exists(name)), None)


def _exists(path: str) -> bool:
    """Whether there is something; UserError where that cannot be seen."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error) from None
    return True


def read_sides(src_file: str | Path, tgt_file: str | Path) -> list[tuple[str, str]]:
    """The lines of two files side by side, not yet normalized.

    Raises:
        UserError: as `read_lines`, or files with different numbers of lines.
    """
    return list(_stream_sides(src_file, tgt_file))


def _stream_sides(src_file: str | Path, tgt_file: str | Path) -> Iterator[tuple[str, str]]:
    src_lines, tgt_lines = stream_lines(src_file), stream_lines(tgt_file)
    for number, (src, tgt) in enumerate(zip_longest(src_lines, tgt_lines), start=1):
        if src is None or tgt is None:
            total = number + sum(1 for _ in (tgt_lines if src is None else src_lines))
            counts = (number - 1, total) if src is None else (total, number - 1)
            raise UserError(
                f"{src_file} has {counts[0]:,} lines but {tgt_file} has {counts[1]:,}: "
                f"{tgt_file if src is None else src_file}:{number} has no partner; "
                "line n of one must translate line n of the other"
            )
        yield src, tgt


def _stream_table(path: str, src: str, tgt: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(stream_lines(path), start=1):
        place = f"{path}:{number}"
        yield _tsv_row(line, place) if path.endswith((".tsv", ".tsv.gz")) else _json_row(line, place, src, tgt)


def _tsv_row(line: str, place: str) -> tuple[str, str]:
    if not line.strip():
        return "", ""
    cells = line.split("\t")
    if len(cells) != 2:
        raise UserError(f"{place}: {len(cells)} tab-separated cells; a row needs exactly 2, the source and the target")
    return cells[0], cells[1]


def _json_row(line: str, place: str, src: str, tgt: str) -> tuple[str, str]:
    if not line.strip():
        return "", ""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: not JSON ({error.msg} at column {error.colno}); write one object a line") from None
    except (ValueError, RecursionError):  # a number of thousands of digits; brackets in thousands of brackets
        raise UserError(f'{place}: not an object of texts; write {{"{src}": "...", "{tgt}": "..."}}') from None
    if not isinstance(row, dict):
        raise UserError(f'{place}: {line.strip()!r:.40} is not an object; write {{"{src}": "...", "{tgt}": "..."}}')
    for key in (src, tgt):
        if not isinstance(row.get(key), str):
            found = f"{row[key]!r:.40}, not a string" if key in row else f"missing among {sorted(row)!r:.80}"
            raise UserError(f'{place}: key "{key}" is {found}; give "{src}" and "{tgt}" a text each')
    return row[src], row[tgt]


def encode_corpus(
    rows: Iterable[tuple[str, str]], tokenizer_src: Tokenizer, tokenizer_tgt: Tokenizer, max_length: int
) -> tuple[list[tuple[list[int], list[int]]], Report]:
    """Token ids of the pairs worth training on, as `encode_pairs` gives them.

    Raises:
        UserError: no pair is left.
    """
    kept, report = encode_pairs(rows, tokenizer_src, tokenizer_tgt, max_length)
    report.must_keep_a_pair()
    return kept, report


def encode_pairs(
    rows: Iterable[tuple[str, str]], tokenizer_src: Tokenizer, tokenizer_tgt: Tokenizer, max_length: int
) -> tuple[list[tuple[list[int], list[int]]], Report]:
    """Token ids of the pairs that are kept, both sides ending in EOS, and the report of what was dropped.

    A pair is dropped when a side has no token (blank) or more than `max_length` tokens, EOS not counted.

    Args:
        rows: source and target; they are normalized here.
        tokenizer_src: of the source.
        tokenizer_tgt: of the target.
        max_length: tokens of a side, at most.
    """
    kept, blank, too_long, cleaned = [], 0, 0, 0
    for row in rows:
        cleaned += is_broken(row[0]) or is_broken(row[1])
        pair = Pair.normalized(*row)
        if is_too_long(pair, max_length):
            too_long += 1
            continue
        src, tgt = tokenizer_src.encode(pair.src), tokenizer_tgt.encode(pair.tgt)
        if not src or not tgt:
            blank += 1
        elif max(len(src), len(tgt)) > max_length:
            too_long += 1
        else:
            kept.append(([*src, EOS], [*tgt, EOS]))
    return kept, Report(len(kept), blank, too_long, max_length, cleaned)


def is_too_long(row: tuple[str, str], max_length: int) -> bool:
    """Whether a side has more characters than any `max_length` tokens."""
    return max(len(row[0]), len(row[1])) > LONGEST_TOKEN * max_length
