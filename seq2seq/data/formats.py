"""Files of text: how lines are read, and a reader for each format of parallel text.

A line ends at a line feed and nowhere else, so that a stray U+2028 or form feed never shifts one side of a corpus
against the other. The readers do not change the text; `normalize` cleans it later.

To add a format of one file, write one function and add one line to `TABLES`.
"""

import csv
import gzip
import io
import json
import logging
import os
import re
import shlex
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from seq2seq.errors import UserError, nearest, visible
from seq2seq.files import is_file, must_read, status
from seq2seq.text.languages import CODES, LANGUAGES
from seq2seq.text.normalize import normalize

log = logging.getLogger("seq2seq")

_COMMENT = re.compile(r"[#%]|//|;;|--")
QUOTED = re.compile(r'".*"')  # a cell of CSV that was not read as CSV, or a quotation
SAMPLE = 20  # rows of a table that show what its first one is
TITLE = 5  # rows that may stand above a table with text in their first cell alone, such as its title, and its header
SPELLED_SIGN = 2.5  # characters of a word, at most, where lines are signs with spaces between, such as phones
LONGEST_LINE = 2**26  # bytes: a file of gigabytes may have no line feed, above all one that was packed

Row = tuple[str, str]  # source and target as in the corpus, not normalized
# of the source and of the target: a number from 1 on, a name in the header, or several of these with + between them,
# whose cells are joined by spaces, such as `lemma+features`
Columns = Sequence[int | str]
Header = bool | Literal["auto"]


class Form(NamedTuple):
    """How the pairs of a corpus are found in its files."""

    src: str  # language codes
    tgt: str
    columns: Columns | None = None  # of a table; None: the only two
    header: Header = "auto"  # whether the first row of a table holds names of columns


# ---------------------------------------------------------------------------------------------------------- lines

# the first bytes of files that are no plain UTF-8, and what to do with them
_OTHER_FILES = {
    b"\xff\xfe": "it is UTF-16; convert the file to UTF-8, for example with iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "it is UTF-16; convert the file to UTF-8, for example with iconv -f UTF-16 -t UTF-8",
    b"\x1f\x8b": "it is packed by gzip; add .gz to its name",
    b"BZh91AY&SY": "it is packed by bzip2; unpack it with bunzip2",
    b"\xfd7zXZ": "it is packed by xz; unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "it is packed by zstd; unpack it with unzstd",
    b"PK\x03\x04": "it is a zip archive, or a table of a spreadsheet; unpack it, or save the table as CSV in UTF-8",
    b"PAR1\x15": "it is Parquet; write it as JSON lines",
}


def stream_lines(path: str | Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, which is unpacked if its name ends in `.gz`; only one is in memory at a time.

    The line feed, a carriage return before it, and a byte order mark at the start of the file are removed.

    Raises UserError: no such file, a directory, broken gzip, a line of over `LONGEST_LINE` bytes, or bad UTF-8 (with
    its line and byte).
    """
    with _reading_errors(path), open(path, "rb") as file:
        unpacked = io.BufferedReader(gzip.GzipFile(fileobj=file)) if str(path).lower().endswith(".gz") else file
        yield from decode_lines(unpacked, str(path))


def decode_lines(lines: BinaryIO, name: str) -> Iterator[str]:
    """Yield the lines of an open binary file, as `stream_lines` does; error messages call the file `name`."""
    with _reading_errors(name):
        for number, line in enumerate(iter(lambda: lines.readline(LONGEST_LINE), b""), start=1):
            if len(line) == LONGEST_LINE:
                raise UserError(f"{name}:{number}: a line of over {LONGEST_LINE:,} bytes; write a sentence a line")
            # a file of another kind; one that holds nothing but a byte order mark is empty
            if number == 1:
                if b"\r" in line.rstrip(b"\r") and not line.endswith(b"\n"):
                    fix = "convert the file, for example with tr '\\r' '\\n'"
                    raise UserError(f"{name}: its lines end in carriage returns (CR), without a line feed; {fix}")
                _must_be_utf_8(line, name)
                line = line.removeprefix(b"\xef\xbb\xbf")
                if not line:
                    return
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                more = lines.read(2**16) if lines.seekable() else b""  # a pipe may have no more for a long time
                raise UserError(
                    f"{name}:{number}: byte {error.start + 1} of the line (0x{line[error.start]:02x}) is not UTF-8; "
                    f"convert the file to UTF-8, for example with iconv{_guess_encoding(line + more)}"
                ) from None


_LATIN = {"CP1252": "cp1252", "MACINTOSH": "mac_roman"}  # names of iconv and of Python
_WESTERN = {chr(code) for code in range(0xC0, 0x100)} - {*"×÷ÐÞð"} | {*"ŒœŸ«»¿¡§°€„“”‘’–—…\xa0"}


def _guess_encoding(text: bytes) -> str:
    """Return the options of iconv for the encoding that a text most likely has; empty if none is likely."""
    foreign = bytes(byte for byte in text if byte > 127)
    if b"\0" in text:
        name = "UTF-16LE" if text.count(b"\n\0") >= text.count(b"\0\n") else "UTF-16BE"
    elif len(foreign) < 0.3 * len(text) and (western := [name for name in _LATIN if _is_western(foreign, name)]):
        name = western[0]
    else:
        try:
            from charset_normalizer import from_bytes
        except ImportError:  # where only what translating needs is installed
            return ""
        logging.getLogger("charset_normalizer").setLevel(logging.ERROR)
        best = from_bytes(text, cp_exclusion=["utf_16", "utf_16_be", "utf_16_le", "utf_32"]).best()
        name = best.encoding.upper().replace("_", "-") if best else ""
    return f" -f {name} -t UTF-8 (a guess: look at the result)" if name else ""


def _is_western(foreign: bytes, name: str) -> bool:
    """Say whether bytes stand for letters of Western Europe in an encoding, and no other signs than quotes and dashes.

    In a text that is short, or mostly ASCII, nothing else tells encodings apart.
    """
    return {*foreign.decode(_LATIN[name], errors="replace")} <= _WESTERN


def _must_be_utf_8(line: bytes, name: str) -> None:
    """Raise UserError if the first line of a file shows that it is of another kind."""
    kind = next((kind for begin, kind in _OTHER_FILES.items() if line.startswith(begin)), None)
    if kind is None and len(line) >= 8 and any(line[odd:400:2].count(0) > 0.4 * len(line[:400]) for odd in (0, 1)):
        kind = _OTHER_FILES[b"\xff\xfe"]  # without a byte order mark
    if kind:
        raise UserError(f"{name}: not plain text in UTF-8: {kind}")


@contextmanager
def _reading_errors(path: str | Path) -> Iterator[None]:
    with must_read(path, "give a file that can be read"):
        try:
            yield
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{path}: not a whole gzip file ({error}); pack it again") from None


def warn_of_tabs(lines: Iterable[str], name: str) -> Iterator[str]:
    """Yield lines of plain text; after the last, warn if some had a tab, or if the name is that of a table."""
    count = 0
    for line in lines:
        count += "\t" in line
        yield line
    if count or table_ending(name) not in ("", ".txt"):
        tabs = f"; {count:,} line{' has' if count == 1 else 's have'} tabs, which become spaces" if count else ""
        log.warning(f"{name}: read as plain text, a sentence a line{tabs}; of a table, give one column alone")


# -------------------------------------------------------------------------------------------------------- corpora


def stream_pairs(
    prefix: str | Path, src: str, tgt: str, columns: Columns | None = None, header: Header = "auto"
) -> Iterator[Row]:
    """Yield the sentence pairs of a corpus; only one is in memory at a time.

    `corpus_files` explains the first arguments, `choose_columns` those for a table.

    Raises UserError: nothing was found, the corpus is empty, the sides have different lengths, or a row is wrong (with
    its file and line). A fault in a file is raised when the stream reaches it.
    """
    files = corpus_files(prefix, src, tgt)
    if len(files) == 2:
        rows = stream_sides(*files)
    else:
        rows = TABLES[table_ending(files[0])](files[0], Form(src, tgt, columns, header))

    first = next(rows, None)
    if first is None:
        raise UserError(f"{files[0]}: empty; a corpus needs at least one sentence pair")
    yield first
    yield from rows


def corpus_files(prefix: str | Path, src: str, tgt: str) -> list[str]:
    """Return the names of the files that hold a corpus: one table, or the two sides.

    `src` and `tgt` are language codes. The first that exists: `prefix` itself, if its name is that of a table;
    `prefix.src` and `prefix.tgt`; `prefix` with the ending of a table, in the order of `TABLES`. Each of these may be
    packed and have `.gz` at the end. A UserError lists the names that were tried.
    """
    # a table by its whole name
    prefix = str(prefix)
    if table_ending(prefix) and status(Path(prefix)):
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
    if table_ending(prefix):
        raise UserError(f"{prefix}: no such file; data names a table by its whole name, or the prefix of two files")
    found = f"only {src_file or tgt_file} exists" if src_file or tgt_file else "nothing found"
    if status(Path(prefix)) and prefix.endswith((f".{src}", f".{tgt}")):
        found = f"that is one side; write {prefix.rsplit('.', 1)[0]}"
    elif status(Path(prefix)) and not (src_file or tgt_file):
        raise UserError(f"no corpus at {prefix}: {_why_not(prefix, src, tgt)}")
    if not (src_file or tgt_file or status(Path(prefix))):
        found += _nearest(prefix, (f".{src}", f".{tgt}"))
    looked = [f"{prefix}.{src} with {prefix}.{tgt}", *(prefix + ending for ending in TABLES)]
    looked_for = f"{', '.join(looked[:-1])} and {looked[-1]}"
    message = f"no corpus at {prefix}: {found}; looked for {looked_for}, each with or without .gz"

    # the repository has scripts that fetch some corpora
    scripts = [script for script in Path("scripts").glob("download_*.py") if script.stem[9:] in prefix]
    raise UserError(f"{message}; `python {scripts[0]}` fetches it" if scripts else message)


def _nearest(prefix: str, sides: Sequence[str]) -> str:
    """Say which folder a path is relative to, and which corpus there has the most similar name."""
    if prefix.startswith("~"):
        return "; ~ stands for nothing here, so write the whole path"
    if "\\" in prefix and os.sep == "/":
        return "; the folders of a path are separated by /, not by \\"
    where = "" if os.path.isabs(prefix) else f" in {os.getcwd()}"
    folder = Path(prefix).parent
    if not folder.is_dir():
        return f"{where}, which has no folder {folder}" if where else f", and no folder {folder}"
    try:
        files = [file.name.removesuffix(".gz") for file in folder.iterdir()]
    except OSError:
        return where
    names = {next((name.removesuffix(end) for end in (*sides, *TABLES) if name.endswith(end)), name) for name in files}
    close = nearest(Path(prefix).name, sorted(names))
    return where + (f"; did you mean {folder / close}?" if close else "")


_CONVERT = {  # how to make a table, or two files, of a file with another ending
    ".tmx": "TMX is mark-up: convert it, for example with tmx2corpus, or take the Moses format where OPUS offers both",
    ".sgm": "SGM is mark-up: keep what stands inside <seg>; for WMT's test sets, sacrebleu --echo prints it",
    ".xml": "XML is mark-up: convert it to a table, or to two files with a sentence a line",
    ".json": "JSON must have one object a line, and the name must end in .jsonl",
    ".xlf": "XLIFF is mark-up: convert it to a table, for example with xliff2po and po2csv of the Translate Toolkit",
    ".po": "PO holds more than pairs: convert it to a table, for example with po2csv of the Translate Toolkit",
    ".parquet": "Parquet must be written as JSON lines",
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet must be saved as CSV in UTF-8"),
    **dict.fromkeys((".docx", ".odt", ".pdf", ".html"), "a document must be saved as plain text, a sentence a line"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), "an archive must be unpacked"),
    **dict.fromkeys((".bz2", ".xz", ".zst"), "of packed files only .gz is read: unpack it"),
}


def _why_not(file: str, src: str, tgt: str) -> str:
    """Say why a file or folder that exists is not read as a corpus, and what to do."""
    if Path(file).is_dir():
        return f"that is a folder; {Path(file) / 'NAME'} means NAME.{src} and NAME.{tgt} in it, or NAME.tsv"
    if not is_file(Path(file)):
        return "that is not an ordinary file"
    ending = Path(file.lower().removesuffix(".gz")).suffix
    expected = f"the name of a table ends in {', '.join(TABLES)}, and then .gz if it is packed; rename it"
    return f"the file exists, but {_CONVERT.get(ending.replace('sgml', 'sgm').replace('xliff', 'xlf'), expected)}"


def table_ending(file: str) -> str:
    """Return the ending, in `TABLES`, of the name of a table in any case; empty for other files."""
    return next((ending for ending in TABLES if file.lower().removesuffix(".gz").endswith(ending)), "")


def _find(path: str) -> str | None:
    return next((name for name in (path, f"{path}.gz") if status(Path(name))), None)


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


# --------------------------------------------------------------------------------------------------------- tables


# a table of cells: the columns are chosen by its first row


class Cells(NamedTuple):
    """A row of a table."""

    line: int  # the number of the line at which it begins
    cells: list[str]
    separator: str = "tab"

    def __str__(self) -> str:
        cut = (f"{n} {shorten(cell)}" for n, cell in enumerate(self.cells[:6], start=1))
        count = f"{len(self.cells)} {self.separator}-separated cell{'s' * (len(self.cells) != 1)}"
        return f"{count} ({', '.join(cut)}{', ...' * (len(self.cells) > 6)})"


def shorten(cell: str) -> str:
    """Return a cell in quotation marks, cut to some 20 characters."""
    text = normalize(cell) or visible(cell.strip(" "))
    return f"'{text if len(text) <= 20 else text[:19] + '…'}'"


class Choice(NamedTuple):
    """The columns of a table, as its first row decides."""

    src: tuple[int, ...]  # indices, from 0 on; the cells of several are joined by spaces
    tgt: tuple[int, ...]
    width: int  # cells of a row, at most; empty ones at the end are not counted
    is_header: bool  # whether that row is a header, and no pair


_SOURCE = {"source", "src", "input", "original"}
_TARGET = {"target", "tgt", "trg", "output", "translation"}
_OTHER = {"id", "score", "sentence", "text", "lang", "language", "word", "lemma", "form", "ipa", "pronunciation"}
_OTHER |= {"phonemes", "spelling"}
# (codes of three letters are words too, such as cat and est: they count where they are those of the two languages)
_LANGUAGE_NAMES = {name: code for code, known in LANGUAGES.items() for name in (known.name, known.own_name)}
COLUMN_NAMES = _SOURCE | _TARGET | _OTHER | set(_LANGUAGE_NAMES)
"""Names that a column often has, as `fold_name` returns them."""


def fold_name(name: str) -> str:
    """Return the name of a column in lower case, with single spaces for spaces, `_` and `-`."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _names_side(name: str, code: str, usual: set[str]) -> bool:
    """Return whether a folded name is that of a side's column: for French `fr`, `fra`, `fr fr`, `french text`."""
    own = CODES.get(code.split()[0], code.split()[0])
    language = LANGUAGES.get(own)
    known = usual | {code} | ({own, *language.codes, language.name, language.own_name} if language else set())
    return name == code or _without_text(name) in known or (len(name.split()) == 2 and name.split()[0] == code)


def _without_text(name: str) -> str:
    return " ".join(word for word in name.split() if word not in ("text", "sentence"))


def choose_columns(path: str, first: Cells, form: Form) -> Choice:
    """Choose the columns of a table by its first row.

    Without `form.columns` there must be two, and the source is the first, unless a header says otherwise. With `header:
    auto`, the row is a header if columns are chosen by name, or if its two cells name languages, sides or kinds of
    text.

    Raises UserError, which shows the row: it has no such column, or not two where none are chosen.
    """
    columns = form.columns
    first = first if columns else _trimmed(first, 2)
    place = f"{path}:{first.line}: {first}"
    names = [fold_name(cell) for cell in first.cells]
    parts = [_parts(column, names) for column in columns or (1, 2)]
    by_name = any(isinstance(column, str) for column in chain(*parts))
    if columns is None and len(names) != 2:
        raise UserError(f"{place}; a row needs exactly 2, the source and the target{_way_out(path, first, form)}")
    if by_name and form.header is False:
        raise UserError(f"{place}; data.columns has names, but data.header is false: choose columns by number")

    # the columns
    def find(column: int | str) -> int:
        if isinstance(column, int):
            matches = [column - 1] if 0 < column <= len(names) else []
        else:
            matches = [n for n, name in enumerate(names) if name == fold_name(column)]
        if len(matches) != 1:
            problem = f"{len(matches)} columns have the name" if matches else "there is no column"
            raise UserError(f"{place}; {problem} {column}, which data.columns (--columns) asks for")
        return matches[0]

    src, tgt = (tuple(map(find, each)) for each in parts)
    if twice := {*src} & {*tgt}:
        fix = "choose different columns for source and target"
        raise UserError(f"{place}; data.columns (--columns) asks for column {min(twice) + 1} twice: {fix}")

    # is it a header? one that names the two columns in the other order turns them
    sides = (fold_name(form.src), _SOURCE), (fold_name(form.tgt), _TARGET)
    pair = [names[each[0]] for each in (src, tgt)]

    def fit(order: list[str]) -> tuple[int, bool]:
        """Count the names that are those of their sides; say whether each is that, or at least a kind of text."""
        own = [_names_side(name, *side) for name, side in zip(order, sides, strict=True)]
        return sum(own), all(is_own or name in _OTHER for is_own, name in zip(own, order, strict=True))

    (straight, fits), (turned, fits_turned) = fit(pair), fit(pair[::-1])
    all_named = (fits or fits_turned) and pair[0] != pair[1]
    named = {_LANGUAGE_NAMES.get(_without_text(name)) for name in pair}
    both_languages = len(named) == 2 and None not in named
    is_header = by_name or both_languages or all_named if form.header == "auto" else form.header
    if is_header and turned > straight and columns is None:
        src, tgt = tgt, src
    return Choice(src, tgt, 2 if columns is None else len(names), is_header)


def _parts(column: int | str, names: Sequence[str]) -> list[int | str]:
    """Return the columns that `a+b` names, or the one that has this name or number."""
    if isinstance(column, int) or "+" not in column or fold_name(column) in names:
        return [column]
    return [int(part) if part.isdecimal() else part for part in map(str.strip, column.split("+"))]


def _way_out(path: str, first: Cells, form: Form) -> str:
    """Say what to do about a table that does not have two columns, where none are chosen."""
    # more: the columns that the header names, else letters, which nobody can repeat without a look at the table
    if len(first.cells) > 2:
        named = []
        for side in ((fold_name(form.src), _SOURCE), (fold_name(form.tgt), _TARGET)):
            named += [cell.strip() for cell in first.cells if _names_side(fold_name(cell), *side)][:1]
        example = ", ".join(named) if len(named) == 2 else "N, M"
        fix = f"data.columns: [{example}], or --columns {example.replace(' ', '')}"
        quote = "; or quote cells that hold commas" if first.separator == "comma" else ""
        joined = "1+3 joins two, such as lemma and features"
        return f"; choose source and target by their numbers or names: {fix} ({joined}){quote}"

    # one: a comment, another separator, or no table
    cell = first.cells[0].strip()
    if _COMMENT.match(cell):
        return "; if the line is a comment, delete it and all others"
    if separator := re.search(r" (=|\|\|\||\|) |\||\u00a0+| {2,}", cell):
        return f"; if {separator[0]!r} separates them, replace it by a tab in all lines"
    if first.separator == "tab" and re.search("[,;]", cell):
        return "; if commas or semicolons separate them, let the name end in .csv"
    if table_ending(path) == ".txt":
        return f"; if it is one side of a corpus, name the two files NAME.{form.src} and NAME.{form.tgt}"
    return ""


class Opened(NamedTuple):
    """A table of which the first rows are read."""

    first: Cells | None  # the first row that is not blank, or the header below a title; None: all rows are blank
    choice: Choice | None  # of columns, by this row
    rows: Iterator[Cells]  # those that may be pairs: all, or all below the header


def _open(read: Callable[[str], Iterator[Cells]], path: str, form: Form) -> Opened:
    """Find the row that chooses the columns, and the rows of pairs."""
    # read up to a row that has text in more than its first cell
    rows = read(path)
    top, full = [], []
    for row in rows:
        top.append(row)
        full += [row] * any(map(str.strip, row.cells))
        if any(map(str.strip, row.cells[1:])) or len(full) > TITLE:
            break

    # it may be a header below a title
    if not full:
        return Opened(None, None, iter(top))
    if 1 < len(full) <= TITLE and (choice := choose_columns(path, top[-1], form)).is_header:
        return Opened(top[-1], choice, rows)

    # else the first row chooses
    choice = choose_columns(path, full[0], form)
    return Opened(full[0], choice, chain(top[top.index(full[0]) + 1 :] if choice.is_header else top, rows))


def _stream_cells(read: Callable[[str], Iterator[Cells]], path: str, form: Form) -> Iterator[Row]:
    """Yield the pairs of the chosen columns, without the header and a title above it; a blank row is a blank pair."""
    first, choice, rows = _open(read, path, form)
    for row in rows:
        cells = row.cells
        if first is None or choice is None or not any(map(str.strip, cells)):
            yield "", ""
            continue

        # every other has as many
        if len(cells) != choice.width:
            needed = max(choice.src + choice.tgt) + 1
            row = _trimmed(row, needed)
            if not needed <= len(row.cells) <= choice.width:
                as_first = f"as line {first.line} has" if form.columns else "the source and the target"
                fix = _mend_row(row, first)
                raise UserError(f"{path}:{row.line}: {row}; a row needs exactly {choice.width}, {as_first}{fix}")
        yield _joined(cells, choice.src), _joined(cells, choice.tgt)


def _mend_row(row: Cells, first: Cells) -> str:
    """Say what may be wrong with a row that has not as many cells as the first."""
    if any('"' in (cell[:1], cell[-1:]) for cell in row.cells):
        return "; if cells are quoted as in CSV, let its name end in .csv"
    if _COMMENT.match(first.cells[0]):
        return f"; if line {first.line} ({shorten(first.cells[0])}) is a comment, delete it and all others"
    return "; if the line is a comment, delete it and all others" if _COMMENT.match(row.cells[0]) else ""


def _joined(cells: Sequence[str], indices: Sequence[int]) -> str:
    return " ".join(cells[n] for n in indices)


def _trimmed(row: Cells, width: int) -> Cells:
    """Return a row without the empty cells at its end, as far as it has more than `width` cells."""
    cells = row.cells
    while len(cells) > width and not cells[-1].strip():
        cells = cells[:-1]
    return row._replace(cells=cells)


def _header(prefix: str | Path, form: Form) -> tuple[str, Cells, Choice] | None:
    """Return the file, the header and the choice of columns of a table that has one. Raises what reading raises."""
    file, *others = corpus_files(prefix, form.src, form.tgt)
    read = None if others else _CELLS.get(table_ending(file))
    first, choice, _ = _open(read, file, form) if read else (None, None, None)
    return (file, first, choice) if first and choice and choice.is_header else None


def first_line(prefix: str | Path, form: Form) -> int:
    """Return the line of a corpus's first pair: 1, or the one below the header of a table."""
    header = _header(prefix, form)
    return header[1].line + 1 if header else 1


def describe_table(prefix: str | Path, form: Form) -> str | None:
    """Say in words which row of a table is taken for a header; None if there is none. Raises what reading raises."""
    header = _header(prefix, form)
    if header is None:
        return None
    file, first, choice = header
    sides = (form.src, choice.src), (form.tgt, choice.tgt)
    src, tgt = (f"{code} is column {'+'.join(str(n + 1) for n in indices)}" for code, indices in sides)
    names = " and ".join(shorten(first.cells[n]) for n in sorted(choice.src + choice.tgt))
    keep = "--header false, or data.header: false, keeps the line"
    return f"{file}:{first.line} is a header, no pair: {names}; {src}, {tgt} ({keep})"


def explain_first_row(prefix: str | Path, form: Form) -> str | None:
    """Say which row of a table is taken for a header, or which pair could be one; None if there is neither."""
    return describe_table(prefix, form) or suspect_header(prefix, form)


def suspect_header(prefix: str | Path, form: Form) -> str | None:
    """Show the first row of a table that is taken for a pair, if it could be names of columns; None if it could not."""
    file, *others = corpus_files(prefix, form.src, form.tgt)
    read = None if others or form.header != "auto" else _CELLS.get(table_ending(file))
    first, choice, rows = _open(read, file, form) if read else (None, None, iter(()))
    if not first or not choice or choice.is_header:
        return None
    last = max(choice.src + choice.tgt)  # rows with fewer cells are an error, which reading raises
    sample = islice((row for row in rows if len(row.cells) > last and any(map(str.strip, row.cells))), SAMPLE)
    pair, *below = ([normalize(_joined(row.cells, each)) for each in (choice.src, choice.tgt)] for row in sample)
    if any(len(text.split()) > 3 or not text or not text[-1].isalnum() for text in pair):
        return None
    differs = [_is_unlike(text, [row[side] for row in below]) for side, text in enumerate(pair)]
    if not any(differs) and not COLUMN_NAMES & {*map(fold_name, pair)}:
        return None
    shown = " and ".join(map(shorten, pair))
    order = "and if the source is the second, with --columns 2,1"
    return (
        f"{file}:{first.line} is taken for a pair: {shown}; if it names the columns, repeat with --header true, {order}"
    )


def _is_unlike(text: str, others: Sequence[str]) -> bool:
    """Return whether a cell has fewer words than most others (of signs with spaces between them the number says
    nothing), or a capital where most have none."""
    words = [other.split() for other in others]
    are_signs = sum(map(len, chain(*words))) < SPELLED_SIGN * sum(map(len, words))
    longer = 0 if are_signs else sum(len(other) > len(text.split()) for other in words)
    small = sum(other[:1].islower() for other in others) if text[:1].isupper() else 0
    return 2 * max(longer, small) > len(others)


def stream_column(path: str, column: str) -> Iterator[str]:
    """Yield the cells of one column of a table, by its number or by its name in the header, which is left out.

    In JSON lines it is a key.

    Raises UserError: there is no such column, or a row lacks it.
    """
    ending = table_ending(path)
    if ending == ".jsonl":
        yield from (src for src, _ in _stream_objects(path, Form(column, column, [column, column])))
        return
    index = int(column) - 1 if column.isdecimal() else None
    for row in _CELLS.get(ending, _read_tabs)(path):
        if index is None:
            names = [fold_name(cell) for cell in row.cells]
            if names.count(fold_name(column)) != 1:
                raise UserError(f"{path}:{row.line}: {row}; there is no column {column}: choose one by number or name")
            index = names.index(fold_name(column))
            continue
        if not 0 <= index < len(row.cells) and any(map(str.strip, row.cells)):
            raise UserError(f"{path}:{row.line}: {row}; there is no column {column}: choose one by number or name")
        cell = row.cells[index] if index < len(row.cells) else ""
        if row.line == 1 and fold_name(cell) in COLUMN_NAMES | CODES.keys() | LANGUAGES.keys():
            name = f"if it is the name of the column, choose it by that: --column {shlex.quote(cell.strip())}"
            log.warning(f"{path}:1: {shorten(cell)} is read as a text; {name}")
        yield cell


def _read_tabs(path: str) -> Iterator[Cells]:
    for number, line in enumerate(stream_lines(path), start=1):
        yield Cells(number, line.split("\t"))


_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}


def _read_csv(path: str) -> Iterator[Cells]:
    """Yield the rows of a CSV file; a quoted cell may hold separators, line breaks and doubled quotes."""
    lines = (line.replace("\r", " ") + "\n" for line in stream_lines(path))
    sample = list(islice(lines, 100))
    is_named = bool(sample and re.fullmatch("sep=[,;\t]\n", sample[0]))  # a line for spreadsheets, and no row
    separator = sample[0][4] if is_named else _separator(sample, path)
    rows = csv.reader(chain(sample[is_named:], lines), delimiter=separator, strict=True)
    line = 1 + is_named
    try:
        for cells in rows:
            yield Cells(line, cells, _SEPARATORS[separator])
            line = rows.line_num + 1 + is_named
    except csv.Error as error:
        fix = 'a cell that begins with " must end with ", and a " inside of it is doubled'
        raise UserError(f"{path}:{line}: not CSV ({error}); {fix}") from None


def _separator(sample: Sequence[str], path: str) -> str:
    """Return what separates the cells of a CSV file: what cuts all rows of a sample into equally many.

    Where several do, it is not one that looks like punctuation: before a space each time, or between digits.

    Raises UserError: several do, and the rows do not say which.
    """
    # what cuts all rows alike; the last row of a sample may go on after it
    found: dict[str, int] = {}
    for separator in _SEPARATORS:
        rows = csv.reader(sample, delimiter=separator, strict=True)
        widths: list[int] = []
        try:
            widths.extend(len(cells) for cells in rows if cells)
        except csv.Error:
            if rows.line_num < len(sample):
                continue
        if widths and min(widths[:-1] or widths) == max(widths[:-1] or widths) > 1:
            found[separator] = max(widths[:-1] or widths)

    # if it is more than one: which stands where punctuation does not, before no space and not between digits
    if len(found) > 1:
        text = "".join(sample)
        apart = {each: width for each, width in found.items() if re.search(rf"{each}(?! )(?<!\d{each}(?=\d))", text)}
        found = apart or found
    if len(found) > 1:
        ways = ", ".join(f"{_SEPARATORS[each]}s cut every row into {width} cells" for each, width in found.items())
        lines = " or ".join(f"sep={each}" for each in found)
        raise UserError(f"{path}: what separates its cells? {ways}; say which in a first line of its own: {lines}")
    return next(iter(found), None) or max(_SEPARATORS, key=lambda each: sample[0].count(each) if sample else 0)


def _stream_objects(path: str, form: Form) -> Iterator[Row]:
    """Yield the pairs of JSON lines: an object a line, with the texts under two keys."""
    # the keys are the language codes, unless `columns` names others
    if any(isinstance(column, int) for column in form.columns or ()):
        raise UserError(f"{path}: data.columns (--columns) has a number, but JSON lines have keys: name them")
    src, tgt = map(str, form.columns or (form.src, form.tgt))
    for number, line in enumerate(stream_lines(path), start=1):
        place = f"{path}:{number}"
        if not line.strip():
            yield "", ""
            continue

        # an object, of which both texts are strings; some data sets wrap it in {"translation": ...}
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{place}: not JSON ({error}); write one object a line") from None
        if not isinstance(row, dict):
            raise UserError(f'{place}: {line.strip()!r:.40} is not an object; write {{"{src}": "...", "{tgt}": "..."}}')
        if isinstance(inner := row.get("translation"), dict):
            row = inner
        values = [_value(row, key) for key in (src, tgt)]
        for key, value in zip((src, tgt), values, strict=True):
            if not isinstance(value, str):
                is_there = value is not None or key in row
                found = f"{value!r:.40}, not a string" if is_there else f"missing among {sorted(row)!r:.80}"
                fix = f'give "{src}" and "{tgt}" a text each, or name other keys: data.columns: [KEY, KEY]'
                raise UserError(f'{place}: key "{key}" is {found}; {fix}')
        yield values[0], values[1]


def _value(row: dict[str, Any], key: str) -> Any:
    """Return the value of a key, or with `a.b` that of key b in the object of key a; None if there is none."""
    if key in row or "." not in key:
        return row.get(key)
    first, rest = key.split(".", 1)
    inner = row.get(first)
    return _value(inner, rest) if isinstance(inner, dict) else None


_CELLS = {".tsv": _read_tabs, ".csv": _read_csv, ".txt": _read_tabs}  # formats that may have a header
TABLES: dict[str, Callable[[str, Form], Iterator[Row]]] = {
    ".tsv": partial(_stream_cells, _read_tabs),
    ".jsonl": _stream_objects,
    ".csv": partial(_stream_cells, _read_csv),
    ".txt": partial(_stream_cells, _read_tabs),
}
"""The formats of one file, by the ending of its name: a reader of the pairs of a file."""
