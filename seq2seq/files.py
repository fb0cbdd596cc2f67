"""Files that are complete or absent, even if the process or the machine stops while they are written.

A hidden name tells what a file or folder waits for: `.new-NAME` is being written or deleted, `.old-NAME` is being
replaced, and `.undone-NAME` will be made again. The only other hidden file is `.lock`.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from seq2seq.errors import UserError

log = logging.getLogger("seq2seq")

Record = TypeVar("Record", bound=BaseModel)

NEW, OLD, UNDONE = ".new-", ".old-", ".undone-"


def write_json(path: Path, value: object) -> None:
    """Write a JSON file, indented for people."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def replace_text(path: Path, text: str) -> None:
    """Replace a file's text in one rename: a reader sees the old text or the new one, never a mixture."""
    new = unfinished(path)
    new.write_text(text, encoding="utf-8")
    publish(new, path)


def unfinished(path: Path) -> Path:
    """Return the hidden name, `.new-NAME`, under which a file or folder is written before `publish` renames it."""
    return path.with_name(NEW + path.name)


def publish(new: Path, path: Path) -> None:
    """Rename a complete file or folder to its final name, and replace what has that name.

    All bytes are on disk before the rename, and the rename is on disk before this returns. The system cannot replace a
    folder in one step: the old one is set aside first, and `recover` puts it back if the process dies in between.
    """
    # flush the new content to disk
    for file in [*new.iterdir()] if new.is_dir() else []:
        sync(file)
    sync(new)

    # rename
    if path.is_dir():
        _rename(path, OLD)
    new.rename(path)
    sync(path.parent)

    # delete what was replaced
    for prefix in (OLD, UNDONE):
        shutil.rmtree(path.with_name(prefix + path.name), ignore_errors=True)


def undo(folder: Path) -> None:
    """Rename a folder to `.undone-NAME`, where it stays until `publish` gives its name to a new one."""
    _rename(folder, UNDONE)


def _rename(folder: Path, prefix: str) -> None:
    renamed = folder.with_name(prefix + folder.name)
    shutil.rmtree(renamed, ignore_errors=True)
    folder.rename(renamed)


def remove(folder: Path) -> None:
    """Delete a folder. It loses its name first, so that nobody finds it half deleted."""
    _rename(folder, NEW)
    shutil.rmtree(unfinished(folder))


def recover(folder: Path) -> None:
    """Clean up after a process that died: delete what it was writing, put back what it was replacing."""
    for new in folder.glob(NEW + "*"):
        shutil.rmtree(new, ignore_errors=True) if new.is_dir() else new.unlink(missing_ok=True)
    for old in folder.glob(OLD + "*"):
        path = old.with_name(old.name.removeprefix(OLD))
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(path)
            sync(folder)


def open_to_readers(file: Path, folder: Path) -> None:
    """Give a file the permissions of a folder, since safetensors writes files that only their owner can read."""
    file.chmod(folder.stat().st_mode & 0o666)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fingerprint(path: Path) -> dict[str, Any]:
    """Return the size of a file in bytes and its SHA-256."""
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def read_json(path: Path, keys: Iterable[str], fix: str) -> dict[str, Any]:
    """Read a JSON object that this package wrote.

    Args:
        path: the file.
        keys: the keys that it must have.
        fix: the end of the error message: what to do if the file is missing or damaged.

    Raises:
        UserError: the file cannot be read, is not a JSON object, or lacks a key.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; {fix}") from None
    return json_object(text, keys, str(path), fix)


def json_object(text: bytes, keys: Iterable[str], place: str, fix: str) -> dict[str, Any]:
    """Parse text like `read_json`; `place` names its origin in errors."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: damaged, not JSON ({error}); {fix}") from None
    if not isinstance(found, dict):
        raise UserError(f"{place}: damaged, {str(found)[:40]!r} is not a JSON object; {fix}")
    if missing := [key for key in keys if key not in found]:
        raise UserError(f"{place}: damaged, the key {missing[0]!r} is missing; {fix}")
    return found


def read_record(path: Path, record: type[Record], fix: str) -> Record:
    """Read a JSON object as a model of pydantic; errors are those of `read_json`, or name the wrong value."""
    try:
        return record.model_validate(read_json(path, record.model_fields, fix))
    except ValidationError as error:
        fault = error.errors()[0]
        raise UserError(f"{path}: damaged, {'.'.join(map(str, fault['loc']))}: {fault['msg']}; {fix}") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes. The system releases the lock when the process ends, however it ends.

    Raises:
        UserError: another process holds the lock, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written: {error.strerror}; choose another folder with --run DIR"
        ) from None
    # take the lock, or say who holds it; it lasts until the handle is closed
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: another training is writing into it; wait for it, stop it, or choose another folder with "
                "--run DIR"
            ) from None
        except OSError:  # a file system without locks
            log.warning("%s: the file system has no locks; make sure that no other training writes there", folder)
        yield
    finally:
        os.close(handle)
