"""The files of a corpus: where they are found, their pairs, and what the first row of a table is."""

import os
from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path

from seq2seq.data.lines import stream_lines
from seq2seq.data.tables import (
    COLUMN_NAMES,
    TABLES,
    Cells,
    Choice,
    Columns,
    Form,
    Header,
    Row,
    fold_name,
    open_table,
    shorten,
    table_ending,
)
from seq2seq.errors import UserError, nearest
from seq2seq.files import is_file, status
from seq2seq.text.normalize import normalize

SAMPLE = 20  # rows of a table that show what its first one is
SPELLED_SIGN = 2.5  # characters of a word, at most, where lines are signs with spaces between, such as phones


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


# -------------------------------------------------------------------------------------------- the first row of a table


def _header(prefix: str | Path, form: Form) -> tuple[str, Cells, Choice] | None:
    """Return the file, the header and the choice of columns of a table that has one. Raises what reading raises."""
    file, *others = corpus_files(prefix, form.src, form.tgt)
    first, choice, _ = open_table(file, form) if not others else (None, None, None)
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
    if others or form.header != "auto":
        return None
    first, choice, rows = open_table(file, form)
    if not first or not choice or choice.is_header:
        return None
    last = max(choice.src + choice.tgt)  # rows with fewer cells are an error, which reading raises
    sample = islice((row for row in rows if len(row.cells) > last and any(map(str.strip, row.cells))), SAMPLE)
    pair, *below = ([normalize(text) for text in choice.pair(row)] for row in sample)
    if any(len(text.split()) > 3 or not text or not text[-1].isalnum() for text in pair):
        return None
    differs = [_is_unlike(text, [row[side] for row in below]) for side, text in enumerate(pair)]
    if not any(differs) and not COLUMN_NAMES & {*map(fold_name, pair)}:
        return None
    shown = " and ".join(map(shorten, pair))
    fix = "--header true (data.header: true in a config), and if the source is the second, with --columns 2,1"
    return f"{file}:{first.line} is taken for a pair: {shown}; if it names the columns, repeat with {fix}"


def _is_unlike(text: str, others: Sequence[str]) -> bool:
    """Return whether a cell has fewer words than most others (of signs with spaces between them the number says
    nothing), or a capital where most have none."""
    words = [other.split() for other in others]
    are_signs = sum(map(len, chain(*words))) < SPELLED_SIGN * sum(map(len, words))
    longer = 0 if are_signs else sum(len(other) > len(text.split()) for other in words)
    small = sum(other[:1].islower() for other in others) if text[:1].isupper() else 0
    return 2 * max(longer, small) > len(others)
