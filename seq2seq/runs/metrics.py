"""The metrics of a run, `metrics.jsonl`: one JSON object a line, each with at least `update` and `split`."""

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seq2seq.errors import unwritten
from seq2seq.files import json_object

log = logging.getLogger("seq2seq")


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
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return self
        return Metrics(self.file, SummaryWriter(str(self.file.parent / "tensorboard"), purge_step=update + 1))

    def add(self, record: dict[str, Any]) -> None:
        """Append a record.

        Raises:
            UserError: it cannot be written, for instance on a full disk.
        """
        try:
            with open(self.file, "a", encoding="utf-8") as file:
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
            UserError: another line is damaged.
        """
        lines = self.file.read_bytes().split(b"\n")[:-1] if self.file.is_file() else []
        return [
            json_object(line, ("update", "split"), f"{self.file}, line {number}", "delete the line")
            for number, line in enumerate(lines, 1)
        ]

    def size(self) -> int:
        """Return the size of the file in bytes; 0 if there is none."""
        return self.file.stat().st_size if self.file.is_file() else 0

    def cut(self, update: int, size: int) -> None:
        """Delete the records after a checkpoint.

        Args:
            update: the update of the checkpoint; later records are deleted.
            size: the size of the file at that time in bytes; later bytes are deleted.
        """
        if self.size() < size:
            log.warning("%s lacks lines that were there at the last checkpoint; they will not come back", self.file)
        if self.file.is_file():
            lines = zip(self.file.read_bytes().splitlines(keepends=True), self.records(), strict=False)
            until = sum(len(line) for line, record in lines if record["update"] <= update)
            os.truncate(self.file, min(size, until))
