"""Functions of several commands: load a translator, read lines, write text, show the log beside a progress bar."""

import errno
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.errors import UserError

if TYPE_CHECKING:
    from seq2seq.decoding.attention_map import AttentionMap
    from seq2seq.decoding.translator import Translator

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)  # of a full or broken disk
MAKE_ROOM = "make room, or write to another file"


def is_first_process() -> bool:
    """Return whether this process prints for all: it is the first under torchrun, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def load_translator(
    run: str | Path, batch_size: int | None = None, shortlist: bool | None = None, device: str | None = None
) -> "Translator":
    """Load the best checkpoint of a run as a translator; None means what the run's config says."""
    from seq2seq.decoding.translator import Translator

    translator = Translator.load(run, shortlist=shortlist, device=device)
    if batch_size is not None:
        if batch_size < 1:
            raise UserError(f"--batch-size is {batch_size}; write 1 or more")
        translator.search = translator.search.model_copy(update={"batch_size": batch_size})
    return translator


def check_attention(translator: "Translator", hint: str = "") -> None:
    """Raise a UserError if the decoder has no attention."""
    if not translator.decoder_heads:
        raise UserError(f"the model has no attention (model.attention.score is none){hint}")


def check_head(head: str, names: Sequence[str], words: Sequence[str]) -> None:
    """Raise a UserError if `--head` is neither one of the words nor the number of a head, counted from 1."""
    if head not in words and not (head.isdecimal() and 1 <= int(head) <= len(names)):
        raise UserError(f"--head {head}: write {', '.join(words)} or the number of a head, here 1 to {len(names)}")


def select_head(map: "AttentionMap", head: str) -> "AttentionMap":
    """Select one head by its number, the `mean` of the heads, or `all` of them."""
    if head == "all":
        return map
    return map.mean() if head == "mean" else map.head(int(head) - 1)


def read_batches(path: str | None, size: int) -> Iterator[list[str]]:
    """Read the lines of a file, or of standard input for None, in batches of `size`; a `.gz` file is unpacked.

    The first batch is read at once. So an input that cannot be read, or is not UTF-8, is a UserError before the output
    is opened, which would empty the file.
    """
    from seq2seq.data.formats import decode_lines, stream_lines

    if path is None and sys.stdin.isatty():
        print("reading lines from the terminal, until Ctrl-D", file=sys.stderr)
    lines = decode_lines(sys.stdin.buffer, "standard input") if path is None else stream_lines(path)
    batches = iter(lambda: list(islice(lines, size)), [])
    return chain(list(islice(batches, 1)), batches)


def write_output(path: str | None, texts: Iterable[str]) -> None:
    """Write each text as soon as it is ready, into a UTF-8 file with line feeds, or to standard output for None."""
    try:
        with nullcontext(sys.stdout) if path is None else open(path, "w", encoding="utf-8", newline="\n") as out:
            for text in texts:
                out.write(text)
                out.flush()
    except OSError as error:
        if path is None or isinstance(error, BrokenPipeError):
            raise
        if error.errno in DISK_ERRORS:
            raise UserError(f"--output {path}: cannot be written: {error.strerror}; {MAKE_ROOM}") from None
        raise UserError(f"--output {path}: {error.strerror}; give a file that can be opened") from None


def check_output_is_not_input(source: str | None, output: str | None) -> None:
    """Raise a UserError if writing the output would overwrite the input."""
    if source and output and Path(output).exists() and Path(source).exists() and Path(output).samefile(source):
        raise UserError(f"--output {output} is the --input file; give another one")


def check_utf8(name: str, text: str) -> None:
    """Raise a UserError if an argument was not UTF-8: Python then puts surrogates in it, which cannot be written."""
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise UserError(f"{name} is not UTF-8: {text.encode(errors='backslashreplace').decode()}; write it in UTF-8")


@contextmanager
def log_beside_progress_bar() -> Iterator[None]:
    """Print the lines of the log on standard output, above the progress bar if there is one."""
    from tqdm import tqdm

    class Handler(logging.Handler):  # tqdm's own prints a traceback if standard output is full
        def emit(self, record: logging.LogRecord) -> None:
            with suppress(BrokenPipeError):  # the reader of the log has gone: the training goes on
                tqdm.write(self.format(record))
                sys.stdout.flush()

    log, handler = logging.getLogger("seq2seq"), Handler()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
