"""Faults in files, and how tests make them."""

import gzip
import json
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest

from seq2seq.errors import UserError

ROWS = [("the cat sees the old dog", "die Katze sieht die alte Hund"), ("old dog", "alte Hund")] * 20
TEN_MB = 10_000_000
NOBODY = 65534

SIDES, TSV, JSONL, CSV = ["en", "en.gz"], ["tsv", "tsv.gz"], ["jsonl", "jsonl.gz"], ["csv", "csv.gz"]
READERS = [*SIDES, *TSV, *JSONL, *CSV]


def packed(name, content):
    return gzip.compress(content) if name.endswith(".gz") else content


def write_lines(folder, name, lines):
    (folder / name).write_bytes(packed(name, b"".join(line + b"\n" for line in lines)))
    return folder / name


def rows_as(reader, rows):
    """The lines of the file that is damaged, and of the other side."""
    if reader in TSV:
        return [f"{src}\t{tgt}".encode() for src, tgt in rows], None
    if reader in CSV:
        return [f'"{src}","{tgt}"'.encode() for src, tgt in rows], None
    if reader in JSONL:
        return [json.dumps({"en": src, "de": tgt}).encode() for src, tgt in rows], None
    return [src.encode() for src, _ in rows], [tgt.encode() for _, tgt in rows]


def write_pairs(folder, reader, lines, other=None):
    """Pairs in one of the formats; the file that was written first."""
    if other is not None:
        write_lines(folder, f"pairs.{reader.replace('en', 'de')}", other)
    return write_lines(folder, f"pairs.{reader}", lines)


def in_line(number, change):
    return lambda lines: [change(line) if n == number else line for n, line in enumerate(lines, start=1)]


LINES = {  # of any file of text: what happens to its lines, what is said after the file's name
    "bad UTF-8": (
        in_line(3, lambda line: line[:9] + b"\xe9" + line[9:]),
        ":3: byte 10 of the line (0xe9) is not UTF-8; convert the file to UTF-8",
    ),
    "a surrogate's bytes": (
        in_line(2, lambda line: b"\xed\xa0\x80" + line),
        ":2: byte 1 of the line (0xed) is not UTF",
    ),
    "UTF-16": (
        lambda lines: b"\n".join(lines).decode().encode("utf-16").split(b"\n"),
        ": not plain text in UTF-8: it is UTF-16; convert the file to UTF-8",
    ),
}
FILES = {  # what happens to the file as it is on disk
    "cut short": (lambda file: file.write_bytes(file.read_bytes()[:-9]), "not a whole gzip file"),
    "not gzip": (lambda file: file.write_bytes(b"the cat\n"), "not a whole gzip file"),
    "flipped": (
        lambda file: file.write_bytes(file.read_bytes()[:14] + b"\xff" * 6 + file.read_bytes()[20:]),
        "not a whole gzip file",
    ),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), "cannot be read: Is a directory; give a file"),
}
STRANGE = {  # as it stands: what it is cleaned to
    "the\0cat": "the cat",
    "the \x1b[31mcat": "the [31mcat",
    "the\x7fcat": "the cat",
    "the\x85cat\x9f": "the cat",
    "the\u2028cat": "the cat",
    "the cat\u2029": "the cat",
    "the\fcat": "the cat",
    "the \ufeffcat": "the cat",
}
SURROGATES = {"the \ud800cat": "the \ufffdcat", "dog \udc00": "dog \ufffd"}  # only an escape of JSON can spell them
ORDINARY = {  # not counted
    "  the   cat ": "the cat",
    "the\u00a0cat\u3000": "the cat",
    "the cat e\u0301": "the cat é",
    "the \t cat": "the cat",
}


@contextmanager
def largest_file(size):
    """Files of this process can grow to so many bytes, as on a disk that gets full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def without_permission(*paths, closed=0, places=()):
    """Files and folders that may be used in no way that `closed` lacks; by someone who is not root.

    `places` are folders that are used as well.
    """
    modes = {path: path.stat().st_mode for path in paths}
    is_root = os.geteuid() == 0  # and may do anything: another user goes there in its place
    if is_root:
        parents = {parent for place in (*paths, *places) for parent in Path(place).parents}
        modes |= {parent: parent.stat().st_mode for parent in parents if not parent.stat().st_mode & 0o001}
    for path, mode in modes.items():
        path.chmod(closed if path in paths else mode | 0o011)
    try:
        if is_root:
            os.seteuid(NOBODY)
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)


def mistake(function, *arguments):
    """What the user reads of the mistake that a function must raise: one line, not a long one."""
    with pytest.raises(UserError) as error:
        function(*arguments)
    said = str(error.value)
    assert len(said.splitlines()) == 1, said
    assert len(said) < 1000
    return said


def before_the_first(monkeypatch, module, name, change):
    """Have a change happen just before a function of a module runs for the first time."""
    real, changes = getattr(module, name), [change]
    monkeypatch.setattr(module, name, lambda *a, **k: (changes and changes.pop()(), real(*a, **k))[1])


KILLER = """
import importlib, itertools, os, signal

module, calls = importlib.import_module({module!r}), itertools.count(1)
real = getattr(module, {name!r})

def kill(*args, **options):
    if next(calls) == {number} and os.environ.get("RANK", "0") == "{rank}" and not os.path.exists({marker!r}):
        open({marker!r}, "x").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)

setattr(module, {name!r}, kill)
"""


def killed_before(folder, module, name, number, rank=0):
    """The environment of a process that kills itself, once, before a call of a function; of several, that of a rank."""
    folder.mkdir()
    code = KILLER.format(module=module, name=name, number=number, rank=rank, marker=str(folder / "killed"))
    (folder / "sitecustomize.py").write_text(code)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
