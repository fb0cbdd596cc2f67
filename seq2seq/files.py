"""Files that are there whole or not at all, whatever stops the process or the machine that writes them."""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seq2seq.errors import UserError

log = logging.getLogger("seq2seq")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file, indented for people."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def replace_text(path: Path, text: str) -> None:
    """Give a file new content in one rename: a reader sees the old or the new, never half of it."""
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text(text, encoding="utf-8")
    publish(unfinished, path)


def publish(unfinished: Path, path: Path) -> None:
    """Give a file, or a folder of files, its name when all of it is on disk, and have the name there too.

    A file of that name is replaced. A folder is moved aside first, to `.replaced-NAME`: see `put_back`.
    """
    for file in [*unfinished.iterdir()] if unfinished.is_dir() else []:
        sync(file)
    sync(unfinished)
    aside = path.with_name(f".replaced-{path.name}")
    if path.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    unfinished.rename(path)
    sync(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def put_back(folder: Path) -> None:
    """Undo each `publish` into a folder that was stopped with the old one moved aside and the new one not yet in."""
    for aside in folder.glob(".replaced-*"):
        path = aside.with_name(aside.name.removeprefix(".replaced-"))
        if not path.exists():
            aside.rename(path)
            sync(folder)


def open_to_readers(file: Path, folder: Path) -> None:
    """Let those read a file who can read a folder; safetensors writes for its owner alone."""
    file.chmod(folder.stat().st_mode & 0o666)


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fingerprint(path: Path) -> dict[str, Any]:
    """The size of a file in bytes, and its SHA-256."""
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def read_json(path: Path, keys: Iterable[str], fix: str) -> dict[str, Any]:
    """A JSON object that this package has written.

    Args:
        path: the file.
        keys: what must be in it.
        fix: what to do where it is missing or damaged; the end of the error.

    Raises:
        UserError: the file cannot be read, is not a JSON object, or lacks a key.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; {fix}") from None
    return json_object(text, keys, str(path), fix)


def json_object(text: bytes, keys: Iterable[str], place: str, fix: str) -> dict[str, Any]:
    """`read_json` of text that was read already, at a place to name in errors."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: damaged, not JSON ({error}); {fix}") from None
    if not isinstance(found, dict):
        raise UserError(f"{place}: damaged, {str(found)[:40]!r} where a JSON object should be; {fix}")
    if missing := [key for key in keys if key not in found]:
        raise UserError(f"{place}: damaged, it has no {missing[0]!r}; {fix}")
    return found


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from locking a folder. The system forgets the lock with the process, however it dies.

    Raises:
        UserError: another process has locked it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}; choose another with --run DIR") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: another training writes into it; wait for its end, stop it, or take another with --run DIR"
            ) from None
        except OSError:  # a file system without locks
            log.warning("%s: cannot be locked here; see to it that no other training writes into it", folder)
        yield
    finally:
        os.close(handle)
