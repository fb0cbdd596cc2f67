"""Exported files: a run in one zip archive, which is unpacked into a temporary folder and read there.

Members are stored, not compressed, so an archive cannot grow when it is read. `SHA256SUMS` lists the digest of each
other member, in the format of `sha256sum`; what is read is compared with it. Unpacked, an archive is a run folder.
"""

import atexit
import hashlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from stat import S_IFREG
from tempfile import gettempdir

from seq2seq.errors import UserError
from seq2seq.scratch import temporary_folder

SUMS = "SHA256SUMS"
NEEDED = {"config.yaml", "best", "card.json", "tokenizer/tokenizer.json", SUMS}
MOST_MEMBERS = 100
AGAIN = "copy it again, or export the run again"
_STEP = r"checkpoints/step-[0-9]+/(model\.safetensors|manifest\.json)"
_TOKENIZER = r"tokenizer/(tokenizer\.json|(joint|src|tgt)\.(model|txt))"
_TOP = r"best|(config\.yaml|(card|sentences|confidence)\.json|shortlist\.safetensors|LICENSE)"
_MEMBER = re.compile(rf"{_STEP}|{_TOKENIZER}|{_TOP}|{SUMS}")
_ORDINARY = (1980, 1, 1, 0, 0, 0)  # the date of every member: the same content is the same file


_folders = ExitStack()  # that archives were unpacked into
atexit.register(_folders.close)


def is_archive(path: Path) -> bool:
    """Return whether a zip archive is there."""
    try:
        return path.is_file() and zipfile.is_zipfile(path)
    except (OSError, ValueError):
        return False


def unpack(archive: Path) -> Path:
    """Return the folder that an archive is unpacked into; it lasts as long as this process.

    Raises:
        UserError: the archive, or one of its members, is damaged, or it cannot be unpacked.
    """
    try:
        found = archive.stat()
        return _unpacked(archive, (found.st_ino, found.st_mtime_ns, found.st_size))
    except OSError as error:
        raise UserError(f"{archive}: cannot be unpacked: {error.strerror}; make room in {gettempdir()}") from None


@cache
def _unpacked(archive: Path, _: tuple[int, ...]) -> Path:
    content = read(archive)
    folder = _folders.enter_context(temporary_folder("seq2seq-"))
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def read(archive: Path) -> dict[str, bytes]:
    """Return the content of the members; raise UserError if one is missing, or is not what `SHA256SUMS` says."""
    with _opened(archive) as file:
        content = {name: file.read(name) for name in file.namelist()}
    if missing := NEEDED - content.keys():
        raise _damaged(archive, f"{min(missing)} is missing")
    lines = content[SUMS].decode("utf-8", "replace").splitlines()
    known = dict(line.split("  ", 1)[::-1] for line in lines if "  " in line)
    for name in content.keys() - {SUMS}:
        if known.get(name) != hashlib.sha256(content[name]).hexdigest():
            raise _damaged(archive, f"{name} is not what was exported")
    return content


def write(file: Path, content: Mapping[str, bytes]) -> None:
    """Write an archive with the given members; the same content gives the same bytes.

    Raises:
        OSError: it cannot be written.
    """
    sums = "".join(f"{hashlib.sha256(content[name]).hexdigest()}  {name}\n" for name in sorted(content))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted({**content, SUMS: sums.encode()}.items()):
            assert _MEMBER.fullmatch(name), name
            info = zipfile.ZipInfo(name, _ORDINARY)
            info.create_system, info.external_attr = 3, (S_IFREG | 0o644) << 16  # of Unix, on every system
            archive.writestr(info, data)


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive, and raise UserError if it holds anything else than what `write` writes, or cannot be read."""
    try:
        with zipfile.ZipFile(archive) as file:
            infos, size = file.infolist(), archive.stat().st_size
            names = [info.filename for info in infos]
            if len(names) > MOST_MEMBERS:
                raise _damaged(archive, f"it has {len(names):,} members, and at most {MOST_MEMBERS} are read")

            # known names, each once; stored as they are, so that they are no larger than the file
            for info in infos:
                kind = info.external_attr >> 16 & 0o170000
                if not _MEMBER.fullmatch(info.filename) or names.count(info.filename) > 1:
                    raise _damaged(archive, f"{info.filename!r:.80} is no member of an exported run, or one too many")
                if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or kind not in (0, S_IFREG):
                    raise _damaged(archive, f"{info.filename} is compressed, encrypted or no ordinary file")
            if any(i.file_size != i.compress_size for i in infos) or sum(i.file_size for i in infos) > size:
                raise _damaged(archive, "its members are larger than the file")
            yield file
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise _damaged(archive, str(error)) from None


def _damaged(archive: Path, reason: str) -> UserError:
    return UserError(f"{archive}: damaged, {reason}; {AGAIN}")
