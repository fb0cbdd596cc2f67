"""Exported files: a run in one zip archive, which is read as if it were a folder.

`model.s2s/tokenizer/joint.model` names a member of the archive `model.s2s`; `files.py` reads such a path like any
other. Members are stored, not compressed, so an archive cannot grow when it is read. `SHA256SUMS` lists the digest of
each other member, in the format of `sha256sum`; what is read is compared with it. Unpacked, an archive is a run folder.
"""

import hashlib
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from stat import S_IFDIR, S_IFREG
from typing import NamedTuple

from seq2seq.errors import UserError

SUMS = "SHA256SUMS"
MOST_MEMBERS = 100
AGAIN = "copy it again, or export the run again"
_STEP = r"checkpoints/step-[0-9]+/(model\.safetensors|manifest\.json)"
_TOKENIZER = r"tokenizer/(tokenizer\.json|(joint|src|tgt)\.(model|txt))"
_TOP = r"best|(config\.yaml|(card|sentences|confidence)\.json|shortlist\.safetensors|LICENSE)"
_MEMBER = re.compile(rf"{_STEP}|{_TOKENIZER}|{_TOP}|{SUMS}")
_ORDINARY = (1980, 1, 1, 0, 0, 0)  # the date of every member: the same content is the same file


class Place(NamedTuple):
    """A place in an archive."""

    archive: Path
    member: str  # or the beginning of some, if it is a folder


def is_archive(path: Path) -> bool:
    """Return whether a zip archive is there."""
    try:
        return path.is_file() and zipfile.is_zipfile(path)
    except (OSError, ValueError):
        return False


def find(path: Path) -> Place | None:
    """Return the place that a path names inside an archive; None if it leads into none."""
    for parent in path.parents:
        if os.path.lexists(parent):
            return Place(parent, path.relative_to(parent).as_posix()) if is_archive(parent) else None
    return None


def members(archive: Path) -> dict[str, int]:
    """Return the names and sizes of the members; raise UserError if the archive is not one that `write` wrote."""
    with _opened(archive) as file:
        return {info.filename: info.file_size for info in file.infolist()}


def read(place: Place) -> bytes:
    """Return the content of a member; raise UserError if it is not what `SHA256SUMS` says."""
    with _opened(place.archive) as file:
        if missing := {place.member, SUMS} - {*file.namelist()}:
            raise _damaged(place.archive, f"{min(missing)} is missing")
        content, sums = file.read(place.member), file.read(SUMS)
    known = dict(line.split("  ", 1)[::-1] for line in sums.decode("utf-8", "replace").splitlines() if "  " in line)
    if known.get(place.member) != hashlib.sha256(content).hexdigest() and place.member != SUMS:
        raise _damaged(place.archive, f"{place.member} is not what was exported")
    return content


def check(archive: Path) -> None:
    """Raise UserError if the archive, or one of its members, is damaged."""
    found = members(archive)
    if missing := {"config.yaml", "best", "card.json", "tokenizer/tokenizer.json", SUMS} - found.keys():
        raise _damaged(archive, f"{min(missing)} is missing")
    for name in found:
        read(Place(archive, name))


def status(place: Place) -> os.stat_result | None:
    """Return what `os.stat` returns for a file or folder, with its kind and size; None if nothing is there."""
    found = members(place.archive)
    if place.member in found:
        return os.stat_result((S_IFREG | 0o444, 0, 0, 1, 0, 0, found[place.member], 0, 0, 0))
    is_folder = any(name.startswith(f"{place.member}/") for name in found)
    return os.stat_result((S_IFDIR | 0o555, 0, 0, 1, 0, 0, 0, 0, 0, 0)) if is_folder else None


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
