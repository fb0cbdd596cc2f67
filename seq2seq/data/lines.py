"""The lines of a file of text.

A line ends at a line feed and nowhere else, so that a stray U+2028 or form feed never shifts one side of a corpus
against the other.
"""

import gzip
import io
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from seq2seq.errors import UserError
from seq2seq.files import must_read

LONGEST_LINE = 2**26  # bytes: a file of gigabytes may have no line feed, above all one that was packed

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
