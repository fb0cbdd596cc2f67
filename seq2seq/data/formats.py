"""Files of text: how lines are read, and a reader for each format of parallel text.

A line ends at a line feed and nowhere else, so that a stray U+2028 or form feed never shifts one side of a corpus
against the other. The readers do not change the text; `normalize` cleans it later.

To add a format of one file, write one function and add one line to `TABLES`.
"""

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

from seq2seq.errors import UserError

LONGEST_LINE = 2**26  # bytes: a file of gigabytes may have no line feed, above all one that was packed

Row = tuple[str, str]  # source and target as in the corpus, not normalized


def stream_lines(path: str | Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, which is unpacked if its name ends in `.gz`; only one is in memory at a time.

    The line feed, a carriage return before it, and a byte order mark at the start of the file are removed.

    Raises UserError: no such file, a directory, broken gzip, a line of over `LONGEST_LINE` bytes, or bad UTF-8 (with
    its line and byte).
    """
    with _reading_errors(path), open(path, "rb") as file:
        unpacked = io.BufferedReader(gzip.GzipFile(fileobj=file)) if str(path).endswith(".gz") else file
        yield from decode_lines(unpacked, str(path))


def decode_lines(lines: BinaryIO, name: str) -> Iterator[str]:
    """Yield the lines of an open binary file, as `stream_lines` does; error messages call the file `name`."""
    with _reading_errors(name):
        for number, line in enumerate(iter(lambda: lines.readline(LONGEST_LINE), b""), start=1):
            if len(line) == LONGEST_LINE:
                raise UserError(f"{name}:{number}: a line of over {LONGEST_LINE:,} bytes; write a sentence a line")
            # a file that holds nothing but a byte order mark is empty
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
                if not line:
                    return
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{name}:{number}: byte {error.start + 1} of the line (0x{line[error.start]:02x}) is not UTF-8; "
                    "convert the file to UTF-8, for example with iconv"
                ) from None


@contextmanager
def _reading_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: not a whole gzip file ({error}); pack it again") from None
    except (OSError, ValueError) as error:  # ValueError: the path holds a NUL
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read: {reason}; give a file that can be read") from None


def stream_pairs(prefix: str | Path, src: str, tgt: str) -> Iterator[Row]:
    """Yield the sentence pairs of a corpus; only one is in memory at a time. `corpus_files` explains the arguments.

    Raises UserError: nothing was found, the corpus is empty, the sides have different lengths, or a row is wrong (with
    its file and line). A fault in a file is raised when the stream reaches it.
    """
    files = corpus_files(prefix, src, tgt)
    if len(files) == 2:
        rows = stream_sides(*files)
    else:
        read = next(read for ending, read in TABLES.items() if files[0].removesuffix(".gz").endswith(ending))
        rows = read(files[0], src, tgt)

    first = next(rows, None)
    if first is None:
        raise UserError(f"{files[0]}: empty; a corpus needs at least one sentence pair")
    yield first
    yield from rows


def corpus_files(prefix: str | Path, src: str, tgt: str) -> list[str]:
    """Return the names of the files that hold a corpus: one table, or the two sides.

    `src` and `tgt` are language codes. The first that exists: `prefix` itself, if its name is that of a table;
    `prefix.src` and `prefix.tgt`; `prefix.tsv`; `prefix.jsonl`. Each of these may be packed and have `.gz` at the end.
    A UserError lists the names that were tried.
    """
    # a table by its whole name
    prefix = str(prefix)
    if prefix.removesuffix(".gz").endswith(tuple(TABLES)):
        if not _exists(prefix):
            raise UserError(f"{prefix}: no such file; data names a table by its whole name, or the prefix of two files")
        return [prefix]

    # two sides, else a table by its prefix
    src_file, tgt_file, *tables = (_find(f"{prefix}{ending}") for ending in (f".{src}", f".{tgt}", *TABLES))
    if src_file and tgt_file:
        return [src_file, tgt_file]
    if table := next(filter(None, tables), None):
        if one := src_file or tgt_file:
            fix = f"name the whole file {table} to read that, or mend data.src ({src}) and data.tgt ({tgt})"
            raise UserError(f"no corpus at {prefix}: {one} has no partner, and {table} is there too; {fix}")
        return [table]

    # nothing: say what exists, and what was looked for
    found = f"only {src_file or tgt_file} exists" if src_file or tgt_file else "nothing found"
    if _exists(prefix) and prefix.endswith((f".{src}", f".{tgt}")):
        found = f"that is one side; write {prefix.rsplit('.', 1)[0]}"
    looked = [f"{prefix}.{src} with {prefix}.{tgt}", *(prefix + ending for ending in TABLES)]
    looked_for = f"{', '.join(looked[:-1])} and {looked[-1]}"
    message = f"no corpus at {prefix}: {found}; looked for {looked_for}, each with or without .gz"

    # the repository has scripts that fetch some corpora
    scripts = [script for script in Path("scripts").glob("download_*.py") if script.stem[9:] in prefix]
    raise UserError(f"{message}; `python {scripts[0]}` fetches it" if scripts else message)


def _find(path: str) -> str | None:
    return next((name for name in (path, f"{path}.gz") if _exists(name)), None)


def _exists(path: str) -> bool:
    """Return whether a file exists; raise UserError if the system cannot tell, as in a folder without permission."""
    with _reading_errors(path):
        try:
            Path(path).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True


def stream_sides(src_file: str | Path, tgt_file: str | Path) -> Iterator[Row]:
    """Yield line n of one file with line n of the other; raise UserError if one has more lines."""
    src_lines, tgt_lines = stream_lines(src_file), stream_lines(tgt_file)
    for number, (src, tgt) in enumerate(zip_longest(src_lines, tgt_lines), start=1):
        if src is not None and tgt is not None:
            yield src, tgt
            continue

        # one side has ended: count the lines of the other
        total = number + sum(1 for _ in (tgt_lines if src is None else src_lines))
        src_count, tgt_count = (number - 1, total) if src is None else (total, number - 1)
        longer = tgt_file if src is None else src_file
        raise UserError(
            f"{src_file} has {src_count:,} lines but {tgt_file} has {tgt_count:,}: {longer}:{number} has no partner; "
            "line n of one must translate line n of the other"
        )


def _stream_tsv(path: str, src: str, tgt: str) -> Iterator[Row]:
    for number, line in enumerate(stream_lines(path), start=1):
        cells = line.split("\t") if line.strip() else ["", ""]
        if len(cells) != 2:
            found = f"{len(cells)} tab-separated cells"
            raise UserError(f"{path}:{number}: {found}; a row needs exactly 2, the source and the target")
        yield cells[0], cells[1]


def _stream_jsonl(path: str, src: str, tgt: str) -> Iterator[Row]:
    for number, line in enumerate(stream_lines(path), start=1):
        place = f"{path}:{number}"
        if not line.strip():
            yield "", ""
            continue

        # an object, of which both texts are strings
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{place}: not JSON ({error}); write one object a line") from None
        if not isinstance(row, dict):
            raise UserError(f'{place}: {line.strip()!r:.40} is not an object; write {{"{src}": "...", "{tgt}": "..."}}')
        for key in (src, tgt):
            if not isinstance(row.get(key), str):
                found = f"{row[key]!r:.40}, not a string" if key in row else f"missing among {sorted(row)!r:.80}"
                raise UserError(f'{place}: key "{key}" is {found}; give "{src}" and "{tgt}" a text each')
        yield row[src], row[tgt]


TABLES: dict[str, Callable[[str, str, str], Iterator[Row]]] = {".tsv": _stream_tsv, ".jsonl": _stream_jsonl}
"""The formats of one file, by the ending of its name: a reader of (file, language code of source, of target)."""
