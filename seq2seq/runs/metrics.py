"""The metrics of a run, `metrics.jsonl`: one JSON object a line, each with at least `update` and `split`."""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, NonNegativeInt

from seq2seq.errors import UserError, unwritten
from seq2seq.files import is_file, open_own, parse_json, read_small

log = logging.getLogger("seq2seq")

LARGEST = 2**30  # bytes: five million records


WEAK_BLEU, WEAK_CHRF, WEAK_EXACT = 10.0, 35.0, 20.0  # a model below all of them gets most of dev wrong


def weakness(validation: Mapping[str, Any]) -> str | None:
    """Say that the scores of a validation are those of a weak model; None if they are not, or are not there."""
    bleu, chrf, exact = (validation.get(name, 100.0) for name in ("bleu", "chrf", "exact_match"))
    if bleu >= WEAK_BLEU or chrf >= WEAK_CHRF or exact >= WEAK_EXACT:
        return None
    return f"a weak model: BLEU {bleu:.1f} and chrF {chrf:.1f} on dev mean that most of its translations are wrong"


class Record(BaseModel, strict=True, extra="allow"):
    """A line of the metrics; all other keys are numbers, or null."""

    __pydantic_extra__: dict[str, float | None]
    update: NonNegativeInt
    split: Literal["train", "dev"]


@dataclass(frozen=True)
class Metrics:
    """The metrics file in a run folder, and the files of TensorBoard if it is installed."""

    file: Path
    tensorboard: Any = None  # a SummaryWriter, see `with_tensorboard`

    def with_tensorboard(self, update: int) -> "Metrics":
        """Return the same metrics, also written for TensorBoard where it is installed (extra `tensorboard`).

        Args:
            update: the last update so far; TensorBoard hides later records of an interrupted training.
        """
        folder = self.file.parent / "tensorboard"
        try:
            from torch.utils.tensorboard import SummaryWriter

            return Metrics(self.file, SummaryWriter(str(folder), purge_step=update + 1))
        except ImportError:
            return self
        except OSError as error:
            log.warning("%s: cannot be written: %s; training without it", folder, error.strerror)
            return self

    def add(self, record: dict[str, Any]) -> None:
        """Append a record.

        Raises:
            UserError: it cannot be written, for instance on a full disk.
        """
        try:
            with open(open_own(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise unwritten(self.file, str(error.strerror), self.file.parent) from None
        if self.tensorboard:
            for name, value in record.items():
                if name not in ("update", "split"):
                    self.tensorboard.add_scalar(f"{record['split']}/{name}", value, record["update"])
            self.tensorboard.flush()

    def records(self) -> list[dict[str, Any]]:
        """Read all records; ignore a last line that a kill cut short.

        Raises:
            UserError: another line is damaged, or the file cannot be read.
        """
        lines = self._content().split(b"\n")[:-1]
        return [
            parse_json(line, Record, f"{self.file}, line {number}", "delete the line").model_dump()
            for number, line in enumerate(lines, 1)
        ]

    def _content(self) -> bytes:
        try:
            return read_small(self.file, LARGEST)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise UserError(f"{self.file}: cannot be read: {error.strerror}; put the old file back") from None

    def size(self) -> int:
        """Return the size of the file in bytes; 0 if there is none."""
        return self.file.stat().st_size if is_file(self.file) else 0

    def cut(self, update: int, size: int) -> None:
        """Delete the records after a checkpoint.

        Args:
            update: the update of the checkpoint; later records are deleted.
            size: the size of the file at that time in bytes; later bytes are deleted.

        Raises:
            UserError: the file is damaged, or cannot be written.
        """
        if self.size() < size:
            log.warning("%s lacks lines that were there at the last checkpoint; they will not come back", self.file)
        end = 0
        for line, record in zip(self._content().splitlines(keepends=True), self.records(), strict=False):
            if record["update"] > update or end + len(line) > size:
                break
            end += len(line)
        if end >= self.size():
            return
        try:
            with open(open_own(self.file, os.O_WRONLY), "wb") as file:
                file.truncate(end)
        except OSError as error:
            raise unwritten(self.file, str(error.strerror), self.file.parent) from None
