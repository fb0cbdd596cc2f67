"""Functions of several commands: load a translator, read lines, write text, show the log."""

import errno
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from seq2seq.errors import OutputError, UserError
from seq2seq.streams import say, tell, write
from seq2seq.training.launch import read_launch

if TYPE_CHECKING:
    from seq2seq.decoding.translator import Translator

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)  # of a full or broken disk
MOST_CHARACTERS = 2**26  # of the lines that are read at a time
MAX_BATCH = 100_000  # sentences translated at a time, as for the key search.batch_size
MAKE_ROOM = "make room, or write to another file"


def program() -> list[str]:
    """Return how a shell calls this command: `seq2seq` if it finds this installation, else the file of it."""
    file, found = Path(sys.executable).with_name("seq2seq"), shutil.which("seq2seq")
    if found and os.path.abspath(found) == str(file):
        return ["seq2seq"]
    if not file.exists():
        return [sys.executable, "-m", "seq2seq"]
    return [str(file.relative_to(os.getcwd()) if file.is_relative_to(os.getcwd()) else file)]


def is_first_process() -> bool:
    """Return whether this process of a training prints for all: it is the first under torchrun, or the only one."""
    try:
        return read_launch().rank == 0
    except UserError:
        return True


def load_translator(
    run: str | Path,
    batch_size: int | None = None,
    shortlist: bool | None = None,
    device: str | None = None,
    precision: str | None = None,
    others: Sequence[str | Path] = (),
) -> "Translator":
    """Load the best checkpoint of a run as a translator, or those of several runs; None means what its config says."""
    from seq2seq.decoding.translator import Translator

    translator = Translator.load(run, *others, shortlist=shortlist, device=device, precision=precision)
    if batch_size is not None:
        if not 1 <= batch_size <= MAX_BATCH:
            raise UserError(f"--batch-size is {batch_size}; write 1 to {MAX_BATCH}")
        translator.engine.search = translator.search.model_copy(update={"batch_size": batch_size})
    return translator


def check_attention(translator: "Translator", hint: str = "") -> None:
    """Raise a UserError if the decoder has no attention."""
    if not translator.decoder_heads:
        raise UserError(f"the model has no attention (model.attention.score is none){hint}")


def check_head(head: str, names: Sequence[str], words: Sequence[str]) -> None:
    """Raise a UserError if `--head` is neither one of the words nor the number of a head, counted from 1."""
    if head not in words and not (head.isdecimal() and len(head) < 9 and 1 <= int(head) <= len(names)):
        raise UserError(f"--head {head:.20}: write {', '.join(words)} or the number of a head, here 1 to {len(names)}")


def read_batches(path: str | None, size: int, column: str | None = None) -> Iterator[list[str]]:
    """Read the lines of a file, or of standard input for None, in batches of `size`; a `.gz` file is unpacked.

    With `column`, the file is a table, and the lines are the cells of that column, chosen by number or name.

    The first batch is read at once. So an input that cannot be read, or is not UTF-8, is a UserError before the output
    is opened, which would empty the file.
    """
    from seq2seq.data.lines import decode_lines, stream_lines
    from seq2seq.data.tables import stream_column, table_ending, warn_of_tabs

    # the lines: a column of a table, or plain text
    if column and not path:
        raise UserError(f"--column {column} says what to read of a table; name it with --input FILE")
    if path and not column and (ending := table_ending(path)) not in ("", ".txt"):
        fix = "--column NAME chooses one column, by number or name (translate)"
        raise UserError(f"--input {path}: a table by its name ({ending}), but a sentence a line is read; {fix}")
    if path is None and sys.stdin.isatty():
        tell("reading lines from the terminal, until Ctrl-D")
    if path and column:
        lines = stream_column(path, column)
    else:
        plain = decode_lines(sys.stdin.buffer, "standard input") if path is None else stream_lines(path)
        lines = warn_of_tabs(plain, path or "standard input")

    # the first batch now, and the others when they are asked for
    batches = _batched(lines, size)
    return chain(list(islice(batches, 1)), batches)


def _batched(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield the lines in batches of `size`, or of fewer where these are so long that they would fill the memory."""
    batch: list[str] = []
    characters = 0
    for line in lines:
        batch.append(line)
        characters += len(line)
        if len(batch) == size or characters > MOST_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def write_output(path: str | None, texts: Iterable[str], *, is_printable: bool = False) -> None:
    """Write each text as soon as it is ready, into a UTF-8 file with line feeds, or to standard output for None.

    A terminal gets no control characters, unless the texts are printable but for their colors; in a pipe or a file the
    text is data, and stays as it is.
    """
    if path is None:
        for text in texts:
            raw = is_printable or not sys.stdout.isatty()
            write(text) if raw else say(*text.removesuffix("\n").split("\n"))
        return
    from seq2seq.runs.run import must_not_be_of_a_run

    must_not_be_of_a_run(Path(path))
    try:
        with open(path, "w", encoding="utf-8", newline="\n") as out:
            for text in texts:
                out.write(text)
                out.flush()
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise UserError(f"--output {path}: cannot be written: {error.strerror}; {MAKE_ROOM}") from None
        raise UserError(f"--output {path}: {error.strerror}; give a file that can be opened") from None


def check_output_is_not_input(source: str | None, output: str | None, option: str = "--input") -> None:
    """Raise a UserError if the output is the file that is read, under whatever name; None is a standard stream."""
    try:
        read = os.stat(source) if source else os.fstat(sys.stdin.fileno())
        written = os.stat(output) if output else os.fstat(sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):  # nothing is there, or the stream is closed
        return
    if S_ISREG(read.st_mode) and os.path.samestat(read, written):
        place, file = f"--output {output}" if output else "standard output", option if source else "standard input"
        raise UserError(f"{place} is the {file} file; give another one")


def check_utf8(name: str, text: str) -> None:
    """Raise a UserError if an argument was not UTF-8: Python then puts surrogates in it, which cannot be written."""
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise UserError(f"{name} is not UTF-8: {text.encode(errors='backslashreplace').decode()}; write it in UTF-8")


def log_warnings() -> AbstractContextManager[None]:
    """Print the warnings of the log on standard error."""
    return _logged(logging.WARNING, lambda text, _: tell(text))


def log_beside_progress_bar() -> AbstractContextManager[None]:
    """Print the log on standard output, above the progress bar if there is one.

    What cannot be printed is dropped, since a training is worth more than its log. The command fails at its end.
    """
    from tqdm import tqdm

    def show(text: str, level: int) -> None:
        lines = [text] if level >= logging.WARNING else text.split("\n")
        with suppress(OutputError), tqdm.external_write_mode(sys.stdout):
            say(*lines)

    return _logged(logging.INFO, show)


@contextmanager
def _logged(level: int, show: Callable[[str, int], None]) -> Iterator[None]:
    """Give each message of the log, from a level on, to a function, with its level."""

    class Log(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            show(self.format(record), record.levelno)

    log = logging.getLogger("seq2seq")
    handlers, before = log.handlers, log.level
    log.handlers = [Log(level)]
    log.setLevel(level)
    try:
        yield
    finally:
        log.handlers = handlers
        log.setLevel(before)
