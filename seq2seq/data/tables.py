"""Tables of parallel text: their cells, their header, the columns that are chosen, and a reader for each format.

The readers do not change the text; `normalize` cleans it later. To add a format of one file, write one function and
add one line to `TABLES`.
"""

import csv
import json
import logging
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Literal, NamedTuple

from seq2seq.data.lines import LONGEST_LINE, stream_lines
from seq2seq.errors import UserError, visible
from seq2seq.text.languages import CODES, LANGUAGES
from seq2seq.text.normalize import normalize

log = logging.getLogger("seq2seq")

TALL = 5  # lines of a row of CSV: with more, a quotation mark may be missing
TITLE = 5  # rows that may stand above a table with text in their first cell alone, such as its title, and its header
QUOTED = re.compile(r'".*"')  # a cell of CSV that was not read as CSV, or a quotation
_COMMENT = re.compile(r"[#%]|//|;;|--")

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


# ------------------------------------------------------------------------------------------ the columns and the header


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

    src: tuple[int, ...]  # indices, from 0 on
    tgt: tuple[int, ...]
    width: int  # cells of a row, at most; empty ones at the end are not counted
    is_header: bool  # whether that row is a header, and no pair

    def pair(self, row: Cells) -> Row:
        """Return source and target of a row; the cells of several columns are joined by spaces."""
        src, tgt = (" ".join(row.cells[n] for n in indices) for indices in (self.src, self.tgt))
        return src, tgt


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
            quoted = "; a number has no quotation marks" if isinstance(column, str) and column.isdecimal() else ""
            raise UserError(f"{place}; {problem} {column}, which data.columns (--columns) asks for{quoted}")
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


def open_table(path: str, form: Form) -> Opened:
    """Find the row that chooses the columns, and the rows of pairs, of a table of cells; JSON lines have neither."""
    # read up to a row that has text in more than its first cell
    read = CELLS.get(table_ending(path))
    if read is None:
        return Opened(None, None, iter(()))
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


def _stream_cells(path: str, form: Form) -> Iterator[Row]:
    """Yield the pairs of the chosen columns, without the header and a title above it; a blank row is a blank pair."""
    first, choice, rows = open_table(path, form)
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
        yield choice.pair(row._replace(cells=cells))


def _mend_row(row: Cells, first: Cells) -> str:
    """Say what may be wrong with a row that has not as many cells as the first."""
    if any('"' in (cell[:1], cell[-1:]) for cell in row.cells):
        return "; if cells are quoted as in CSV, let its name end in .csv"
    if _COMMENT.match(first.cells[0]):
        return f"; if line {first.line} ({shorten(first.cells[0])}) is a comment, delete it and all others"
    return "; if the line is a comment, delete it and all others" if _COMMENT.match(row.cells[0]) else ""


def _trimmed(row: Cells, width: int) -> Cells:
    """Return a row without the empty cells at its end, as far as it has more than `width` cells."""
    cells = row.cells
    while len(cells) > width and not cells[-1].strip():
        cells = cells[:-1]
    return row._replace(cells=cells)


# ---------------------------------------------------------------------------------------------------------- the rows


def _read_tabs(path: str) -> Iterator[Cells]:
    for number, line in enumerate(stream_lines(path), start=1):
        yield Cells(number, line.split("\t"))


_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}


def _read_csv(path: str) -> Iterator[Cells]:
    """Yield the rows of a CSV file; a quoted cell may hold separators, line breaks and doubled quotes."""
    lines = (line.replace("\r", " ") + "\n" for line in stream_lines(path))
    sample = list(islice(lines, 100))
    is_named = bool(sample and re.fullmatch("(?i)sep=[,;\t]\n", sample[0]))  # a line for spreadsheets, and no row
    separator = sample[0][4] if is_named else _separator(sample, path)
    csv.field_size_limit(LONGEST_LINE)
    rows = csv.reader(chain(sample[is_named:], lines), delimiter=separator, strict=True)
    line = 1 + is_named
    try:
        for cells in rows:
            if (spanned := rows.line_num + 1 + is_named - line) > TALL:
                log.warning(f"{path}:{line}: a row of {spanned:,} lines: is the end of a quotation missing there?")
            yield Cells(line, cells, _SEPARATORS[separator])
            line += spanned
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
    if form.header is True:
        raise UserError(f"{path}: data.header (--header) is true, but JSON lines have none: leave it out")
    src, tgt = map(str, form.columns or (form.src, form.tgt))
    if src == tgt:
        raise UserError(f"{path}: data.columns (--columns) has the key {src} twice; name two keys")

    # the texts
    fix = f'give "{src}" and "{tgt}" a text each, or name other keys: data.columns: [KEY, KEY]'
    for texts in _read_objects(path, (src, tgt), fix):
        yield texts[0], texts[1]


def _read_objects(path: str, keys: Sequence[str], fix: str) -> Iterator[list[str]]:
    """Yield the texts under some keys of each object of JSON lines, empty in a blank line; `fix` ends an error."""
    for number, line in enumerate(stream_lines(path), start=1):
        place = f"{path}:{number}"
        if not line.strip():
            yield [""] * len(keys)
            continue

        # an object; some data sets wrap it in {"translation": ...}
        try:
            row = json.loads(line, object_pairs_hook=_each_once)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{place}: not JSON ({error}); write one object a line") from None
        if not isinstance(row, dict):
            example = ", ".join(f'"{key}": "..."' for key in keys)
            raise UserError(f"{place}: {line.strip()!r:.40} is not an object; write {{{example}}}")
        if isinstance(inner := row.get("translation"), dict) and not {*keys} <= row.keys():
            row = inner

        # the texts
        texts = [_value(row, key) for key in keys]
        for key, value in zip(keys, texts, strict=True):
            if not isinstance(value, str):
                is_there = value is not None or key in row
                found = f"{value!r:.40}, not a string" if is_there else f"missing among {sorted(row)!r:.80}"
                raise UserError(f'{place}: key "{key}" is {found}; {fix}')
        yield texts


def _each_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON; raise ValueError if a key appears twice."""
    if len(found := dict(members)) < len(members):
        keys = [key for key, _ in members]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1):.40} appears twice")
    return found


def _value(row: dict[str, Any], key: str) -> Any:
    """Return the value of a key, or with `a.b` that of key b in the object of key a; None if there is none."""
    if key in row or "." not in key:
        return row.get(key)
    first, rest = key.split(".", 1)
    inner = row.get(first)
    return _value(inner, rest) if isinstance(inner, dict) else None


CELLS = {".tsv": _read_tabs, ".csv": _read_csv, ".txt": _read_tabs}  # formats that may have a header
TABLES: dict[str, Callable[[str, Form], Iterator[Row]]] = {
    ".tsv": _stream_cells,
    ".jsonl": _stream_objects,
    ".csv": _stream_cells,
    ".txt": _stream_cells,
}
"""The formats of one file, by the ending of its name: a reader of the pairs of a file."""


def table_ending(file: str) -> str:
    """Return the ending, in `TABLES`, of the name of a table in any case; empty for other files."""
    return next((ending for ending in TABLES if file.lower().removesuffix(".gz").endswith(ending)), "")


def stream_column(path: str, column: str) -> Iterator[str]:
    """Yield the cells of one column of a table, by its number or by its name in the header, which is left out.

    In JSON lines it is a key.

    Raises UserError: there is no such column, or a row lacks it.
    """
    # a key of JSON lines
    ending = table_ending(path)
    if ending == ".jsonl":
        for texts in _read_objects(path, [column], "--column chooses a key whose values are texts"):
            yield from texts
        return

    def missing(row: Cells) -> UserError:
        return UserError(f"{path}:{row.line}: {row}; there is no column {column}: choose one by number or name")

    index = int(column) - 1 if column.isdecimal() else None
    for row in CELLS.get(ending, _read_tabs)(path):
        # the header, if the column has a name
        if index is None:
            names = [fold_name(cell) for cell in row.cells]
            if names.count(fold_name(column)) != 1:
                raise missing(row)
            index = names.index(fold_name(column))
            continue

        # a cell; a blank row has an empty one
        if not 0 <= index < len(row.cells) and any(map(str.strip, row.cells)):
            raise missing(row)
        cell = row.cells[index] if index < len(row.cells) else ""
        if row.line == 1 and fold_name(cell) in COLUMN_NAMES | CODES.keys() | LANGUAGES.keys():
            name = f"if it is the name of the column, choose it by that: --column {shlex.quote(cell.strip())}"
            log.warning(f"{path}:1: {shorten(cell)} is read as a text; {name}")
        yield cell


def warn_of_tabs(lines: Iterable[str], name: str) -> Iterator[str]:
    """Yield lines of plain text; after the last, warn if some had a tab, or if the name is that of a table."""
    count = 0
    for line in lines:
        count += "\t" in line
        yield line
    if count or table_ending(name) not in ("", ".txt"):
        tabs = f"; {count:,} line{' has' if count == 1 else 's have'} tabs, which become spaces" if count else ""
        log.warning(f"{name}: read as plain text, a sentence a line{tabs}; of a table, give one column alone")
