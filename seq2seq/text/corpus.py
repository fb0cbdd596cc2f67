"""Reading parallel text, checking it, and turning it into token ids.

A line is what stands between two line feeds and nothing else, so a stray U+2028 or form feed never shifts one side of
a corpus against the other.
"""

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from seq2seq.errors import UserError
from seq2seq.text.normalize import normalize
from seq2seq.text.tokenizer import EOS, Tokenizer

_TABLES = (".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz")


class Pair(NamedTuple):
    """A sentence and its translation, normalized text."""

    src: str
    tgt: str


@dataclass(frozen=True)
class Report:
    """What became of the pairs of a corpus; as a string, the one line that a log shows."""

    kept: int
    blank: int
    too_long: int
    max_length: int

    @property
    def total(self) -> int:
        """The number of pairs that were read."""
        return self.kept + self.blank + self.too_long

    def __str__(self) -> str:
        return (
            f"kept {self.kept:,} of {self.total:,} pairs; "
            f"dropped {self.blank:,} blank and {self.too_long:,} longer than {self.max_length:,} tokens"
        )


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file, unpacked where its name ends in `.gz`, as they stand: not yet normalized.

    Lines end with a line feed; a carriage return before it and a byte order mark at the start of the file are removed.

    Raises:
        UserError: no such file, a directory, broken gzip, or bad UTF-8 (with its line and byte).
    """
    return list(decode_lines(io.BytesIO(read_bytes(path)), str(path)))


def decode_lines(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """The lines of an open binary file, as `read_lines` gives them, one by one; `name` stands in errors."""
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
    try:
        data = Path(path).read_bytes()
        return gzip.decompress(data) if str(path).endswith(".gz") else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: not a whole gzip file ({error}); pack it again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _decode(line: bytes, place: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = f"byte {error.start + 1} of the line (0x{line[error.start]:02x}) is not UTF-8"
        raise UserError(f"{place}: {bad}; convert the file to UTF-8, for example with iconv") from None


def read_pairs(prefix: str | Path, src: str, tgt: str) -> list[Pair]:
    """The normalized sentence pairs of the corpus named by `prefix`, in file order, blank ones included.

    The first of these that exists is read: `prefix` itself, a `.tsv` or `.jsonl` file; `prefix.src` beside
    `prefix.tgt`, with the language codes given; `prefix.tsv`; `prefix.jsonl`. Each may be gzipped, with `.gz` at the
    end. A TSV row has two cells, source then target; a JSONL row is an object with the codes as keys.

    Raises:
        UserError: nothing found, an empty corpus, sides of different length, or a bad row, with its file and line.
    """
    prefix = str(prefix)
    if prefix.endswith(_TABLES) and not Path(prefix).is_file():
        raise UserError(f"{prefix}: no such file")
    src_file, tgt_file = _existing(f"{prefix}.{src}"), _existing(f"{prefix}.{tgt}")
    if prefix.endswith(_TABLES) and Path(prefix).is_file():
        file, rows = prefix, _read_table(prefix, src, tgt)
    elif src_file and tgt_file:
        file, rows = src_file, read_sides(src_file, tgt_file)
    elif table := next((prefix + end for end in _TABLES if Path(prefix + end).is_file()), None):
        file, rows = table, _read_table(table, src, tgt)
    else:
        found = f"only {src_file or tgt_file} exists" if src_file or tgt_file else "nothing found"
        if Path(prefix).is_file() and prefix.endswith((f".{src}", f".{tgt}")):
            found = f"that is one side; write {prefix.rsplit('.', 1)[0]}"
        looked = f"{prefix}.{src} with {prefix}.{tgt}, {prefix}.tsv and {prefix}.jsonl, each with or without .gz"
        raise UserError(f"no corpus at {prefix}: {found}; looked for {looked}")
    if not rows:
        raise UserError(f"{file}: empty; a corpus needs at least one sentence pair")
    return [Pair(normalize(s), normalize(t)) for s, t in rows]


def _existing(path: str) -> str | None:
    return next((name for name in (path, f"{path}.gz") if Path(name).exists()), None)


def read_sides(src_file: str | Path, tgt_file: str | Path) -> list[tuple[str, str]]:
    """The lines of two files side by side, not yet normalized.

    Raises:
        UserError: as `read_lines`, or files with different numbers of lines.
    """
    src, tgt = read_lines(src_file), read_lines(tgt_file)
    if len(src) != len(tgt):
        longer = src_file if len(src) > len(tgt) else tgt_file
        raise UserError(
            f"{src_file} has {len(src):,} lines but {tgt_file} has {len(tgt):,}: "
            f"{longer}:{min(len(src), len(tgt)) + 1} has no partner; line n of one must translate line n of the other"
        )
    return list(zip(src, tgt, strict=True))


def _read_table(path: str, src: str, tgt: str) -> list[tuple[str, str]]:
    lines = enumerate(read_lines(path), start=1)
    if path.endswith((".tsv", ".tsv.gz")):
        return [_tsv_row(line, f"{path}:{number}") for number, line in lines]
    return [_json_row(line, f"{path}:{number}", src, tgt) for number, line in lines]


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
    if not isinstance(row, dict):
        raise UserError(f'{place}: {line.strip()[:40]} is not an object; write {{"{src}": "...", "{tgt}": "..."}}')
    for key in (src, tgt):
        if not isinstance(row.get(key), str):
            found = f"{row[key]!r:.40}, not a string" if key in row else f"missing among {sorted(row)}"
            raise UserError(f'{place}: key "{key}" is {found}; give "{src}" and "{tgt}" a text each')
    return row[src], row[tgt]


def encode_corpus(
    pairs: Sequence[Pair], tokenizer_src: Tokenizer, tokenizer_tgt: Tokenizer, max_length: int
) -> tuple[list[tuple[list[int], list[int]]], Report]:
    """Token ids of the pairs worth training on, both sides ending in EOS, and the report of what was dropped.

    A pair is dropped when a side has no token (blank) or more than `max_length` tokens, EOS not counted.

    Raises:
        UserError: no pair is left.
    """
    kept, blank, too_long = [], 0, 0
    for pair in pairs:
        src, tgt = tokenizer_src.encode(pair.src), tokenizer_tgt.encode(pair.tgt)
        if not src or not tgt:
            blank += 1
        elif max(len(src), len(tgt)) > max_length:
            too_long += 1
        else:
            kept.append(([*src, EOS], [*tgt, EOS]))
    report = Report(len(kept), blank, too_long, max_length)
    if not kept:
        raise UserError(f"no sentence pair is left: {report}; raise data.max_length or check the corpus")
    return kept, report
