"""The standard streams of a command. This is the only place that prints.

Standard output has every line, or the command fails: it waits for a slow reader, and reports a stream that is closed,
full or broken. Standard error never fails. Lines for people have no character that controls a terminal.
"""

import contextlib
import io
import os
import select
import sys

from seq2seq.errors import OutputError, printable


def say(*lines: str) -> None:
    """Print lines for people on standard output; control characters are spelled out.

    Raises:
        OutputError: they cannot be written.
    """
    write("".join(f"{printable(line)}\n" for line in lines))


def write(data: str) -> None:
    """Write data to standard output as it is, at once.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        sys.stdout.write(data)
        sys.stdout.flush()
    except OSError as error:
        raise OutputError(error) from None


def tell(*lines: str) -> None:
    """Print lines for people on standard error; if that is impossible, drop them."""
    with contextlib.suppress(OSError):
        sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))


def finish() -> None:
    """Raise an OutputError if anything that was written to standard output has been lost."""
    write("")
    if lost := getattr(getattr(sys.stdout, "buffer", None), "lost", None):
        raise OutputError(lost)


def open_streams() -> None:
    """Open the standard streams of this process anew, in a way that loses nothing.

    A closed stream would lend its number to the next file that is opened, and messages would go into that file. So its
    number is given to the null device, opened such that input and output fail when they are used, and messages vanish.
    """
    for number, access in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, access)  # the system takes the lowest free number
    sys.stdin = io.TextIOWrapper(io.BufferedReader(Stream(0, "r", closefd=False)), encoding="utf-8")
    streams = Stream(1, "w", closefd=False), Messages(2, "w", closefd=False)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True)
        for stream in streams
    )


class Stream(io.FileIO):
    """A standard stream that reads and writes all it is asked to; a non-blocking one, or a short write, may not.

    Attributes:
        lost: the error of a write that failed.
    """

    lost: OSError | None = None

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read some bytes; wait for them where the stream does not."""
        while (count := super().readinto(buffer)) is None:
            select.select([self], [], [])
        return count

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write all bytes; wait for room where the stream does not."""
        try:
            rest = memoryview(data)
            while rest:
                if (count := super().write(rest)) is None:
                    select.select([], [self], [])
                rest = rest[count or 0 :]
        except OSError as error:
            self.lost = error
            raise
        return len(data)


class Messages(Stream):
    """Standard error: what cannot be written is dropped, so that a message never ends what it tells of."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write all bytes if possible."""
        with contextlib.suppress(OSError):
            super().write(data)
        return len(data)
