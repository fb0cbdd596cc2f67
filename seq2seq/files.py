"""Files that are complete or absent, even if the process or the machine stops while they are written.

Every file of a run is written by `replacing` and read by `read_small`, or checked by `fingerprint` first. A hidden name
tells what a file or folder waits for: `.new-NAME` is being written or deleted, `.old-NAME` is being replaced, and
`.undone-NAME` will be made again. The only other hidden file is `.lock`.
"""

import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from seq2seq.errors import UserError

log = logging.getLogger("seq2seq")

NEW, OLD, UNDONE = ".new-", ".old-", ".undone-"
LINK = "a link, which is not followed"
LARGEST = 2**28  # bytes of a file that is read as a whole
# Windows has neither of these
NO_LINK, NO_WAIT, CLOSE = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))

Record = TypeVar("Record", bound=BaseModel)


# ----------------------------------------------------------------------------------------------------------- writing


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the name of a new, empty file, which becomes `path` in one rename when the block ends without an error.

    A reader sees the old content or the new one, never a mixture. Nobody can foresee the name, and it is taken only if
    it is free: several processes never share it, and no link is followed, neither under this name nor under `path`.

    Raises:
        OSError: the file cannot be written; `filename` is `path`.
    """
    new = None
    try:
        new = _new_file(path.parent)
        yield new
        publish(new, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        if new:
            delete(new)


def _new_file(folder: Path) -> Path:
    new = folder / (NEW + secrets.token_hex(8))
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666))
    return new


def replace_text(path: Path, text: str) -> None:
    """Replace a file's text as `replacing` does."""
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Replace a JSON file, indented for people."""
    replace_text(path, json.dumps(value, indent=2) + "\n")


def check_writable(folder: Path, is_own: bool) -> None:
    """Raise OSError if no file can be made in a folder. One of our own is made if it is missing, and may be no link."""
    if is_own:
        folder.mkdir(exist_ok=True)
    if is_own and folder.is_symlink():
        raise OSError(errno.ELOOP, LINK, str(folder))
    _new_file(folder).unlink()


@contextmanager
def must_write(path: Path, fix: str) -> Iterator[None]:
    """Turn an OSError of the block into a UserError that names its file, or `path` if it has none or a hidden one."""
    try:
        yield
    except OSError as error:
        named = error.filename if error.filename and NEW not in str(error.filename) else path
        raise UserError(f"{named}: cannot be written: {error.strerror or error}; {fix}") from None


@contextmanager
def must_read(path: Path | str, fix: str) -> Iterator[None]:
    """Turn an OSError of the block, or a ValueError about a name, into a UserError; `path` names what was read."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {_reason(error)}; {fix}") from None


def open_own(path: Path, flags: int) -> int:
    """Open a file that is changed in place, and return its descriptor; a link is not followed, a FIFO not waited for.

    Raises OSError: it cannot be opened.
    """
    try:
        return os.open(path, flags | NO_LINK | NO_WAIT | CLOSE, 0o666)
    except OSError as error:
        raise OSError(error.errno, LINK if error.errno == errno.ELOOP else error.strerror, str(path)) from None


def unfinished(path: Path) -> Path:
    """Return the hidden name, `.new-NAME`, under which a folder is written before `publish` renames it."""
    return path.with_name(NEW + path.name)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield the hidden name of a new, empty folder, which becomes `path` when the block ends without an error.

    Raises:
        OSError: the folder cannot be written.
    """
    new = unfinished(path)
    delete(new)
    new.mkdir(parents=True)
    try:
        yield new
        publish(new, path)
    finally:
        delete(new)  # left only after an error: otherwise it was renamed


def publish(new: Path, path: Path) -> None:
    """Rename a complete file or folder to its final name, and replace what has that name.

    All bytes are on disk before the rename, and the rename is on disk before this returns. The system cannot replace a
    folder in one step: the old one is set aside first, and `recover` puts it back if the process dies in between.
    """
    # flush the new content to disk
    is_folder = new.is_dir()
    for file in [*new.iterdir()] if is_folder else []:
        sync(file)
    sync(new)

    # rename
    if is_folder and os.path.lexists(path):
        _rename(path, OLD)
    new.replace(path)
    sync(path.parent)

    # delete what was replaced
    for prefix in (OLD, UNDONE) if is_folder else ():
        delete(path.with_name(prefix + path.name))


def undo(folder: Path) -> None:
    """Rename a folder to `.undone-NAME`, where it stays until `publish` gives its name to a new one."""
    _rename(folder, UNDONE)


def _rename(folder: Path, prefix: str) -> None:
    renamed = folder.with_name(prefix + folder.name)
    delete(renamed)
    folder.rename(renamed)


def remove(folder: Path) -> None:
    """Delete a folder. It loses its name first, so that nobody finds it half deleted."""
    _rename(folder, NEW)
    delete(unfinished(folder))


def delete(path: Path) -> None:
    """Delete a file, a folder with all that is in it, or a link but not what it points to; do what is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def recover(folder: Path) -> None:
    """Clean up after a process that died: delete what it was writing, put back what it was replacing."""
    for new in folder.glob(NEW + "*"):
        delete(new)
    for old in folder.glob(OLD + "*"):
        path = old.with_name(old.name.removeprefix(OLD))
        if os.path.lexists(path):
            delete(old)
        else:
            old.rename(path)
            sync(folder)


def open_to_readers(file: Path, folder: Path) -> None:
    """Give a file the permissions of a folder, since safetensors writes files that only their owner can read."""
    file.chmod(folder.stat().st_mode & 0o666)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folder
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ----------------------------------------------------------------------------------------------------------- reading


def status(path: Path) -> os.stat_result | None:
    """Return the status of a file or folder, of what it points to if it is a link; None if nothing is there.

    Raises:
        UserError: the system cannot tell, for example in a folder without permission, or because the name is too long.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {_reason(error)}; give another name, or mend that") from None


def is_file(path: Path) -> bool:
    """Return whether an ordinary file is there; raise UserError as `status` does."""
    return (found := status(path)) is not None and S_ISREG(found.st_mode)


def is_folder(path: Path) -> bool:
    """Return whether a folder is there; raise UserError as `status` does."""
    return (found := status(path)) is not None and S_ISDIR(found.st_mode)


@contextmanager
def opened(path: Path, most: int | None = None) -> Iterator[BufferedReader]:
    """Open an ordinary file of at most `most` bytes to read it; a FIFO or a device is never waited for.

    Raises:
        OSError: it cannot be opened, is something else than an ordinary file, or is larger.
    """
    try:
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | NO_WAIT))  # noqa: SIM115
    except ValueError as error:  # a name with NUL, or with what the system's encoding lacks
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    with file:
        found = os.fstat(file.fileno())
        if not S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not an ordinary file", str(path))
        if most is not None and found.st_size > most:
            raise OSError(errno.EFBIG, f"{found.st_size:,} bytes, and at most {most:,} are read", str(path))
        yield file


def read_small(path: Path, most: int = LARGEST) -> bytes:
    """Return the content of an ordinary file; raise OSError as `opened` does, before anything is read."""
    with opened(path, most) as file:
        return file.read(most)


def fingerprint(path: Path, size: int | None = None) -> dict[str, Any]:
    """Return the size of an ordinary file in bytes and its SHA-256; a file of another size than `size` is not read.

    Raises:
        OSError: it cannot be read, or is something else than an ordinary file.
    """
    with opened(path) as file:
        found = file.seek(0, os.SEEK_END)
        file.seek(0)
        is_read = size is None or size == found
        return {"bytes": found, "sha256": hashlib.file_digest(file, "sha256").hexdigest() if is_read else ""}


def read_json(path: Path, record: type[Record], fix: str) -> Record:
    """Read a JSON object that this package wrote, as the pydantic model `record`; `fix` ends the error message.

    Raises:
        UserError: the file cannot be read, is not a JSON object, or has not the keys and values that it must have.
    """
    with must_read(path, fix):
        text = read_small(path)
    return parse_json(text, record, str(path), fix)


def parse_json(text: bytes, record: type[Record], place: str, fix: str) -> Record:
    """Parse text like `read_json`; `place` names its origin in errors."""
    try:
        return record.model_validate_json(text)
    except (ValidationError, RecursionError) as error:
        raise UserError(f"{place}: damaged, {_explain(error)}; {fix}") from None


def _explain(error: ValidationError | RecursionError) -> str:
    """Describe the first fault of a JSON text: its key, its value, and what is wrong with it."""
    if isinstance(error, RecursionError):
        return "nested too deep"
    fault = error.errors(include_url=False)[0]
    value = repr(fault["input"])
    shown = value if len(value) <= 40 else value[:40] + "..."
    key = ".".join(str(part) for part in fault["loc"])[:80]
    match fault["type"]:
        case "json_invalid":
            return f"not JSON ({fault['ctx']['error']})"
        case "missing":
            return f"the key {key!r} is missing"
        case "model_type" if not key:
            return f"{str(fault['input'])[:40]!r} is not a JSON object"
    return f"{key!r} is {shown}: {fault['msg']}"


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


# ----------------------------------------------------------------------------------------------------------- locking


@contextmanager
def locked(folder: Path, work: str = "training", option: str = "--run DIR") -> Iterator[None]:
    """Lock a folder against other processes. The system releases the lock when the process ends, however it ends.

    Messages say what `work` is done in the folder, and which `option` of the command chooses another.

    Raises:
        UserError: another process holds the lock, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open_own(folder / ".lock", os.O_RDWR | os.O_CREAT)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: cannot be written: {_reason(error)}; choose another with {option}") from None
    # take the lock, or say who holds it; it lasts until the handle is closed
    try:
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: another {work} is writing into it; wait for it, stop it, or choose another with {option}"
            ) from None
        except (OSError, ImportError):  # a file system or a system (Windows) without such locks
            log.warning("%s: there are no locks here; make sure that no other %s writes there", folder, work)
        yield
    finally:
        os.close(handle)
