"""The metrics of a run, `metrics.jsonl`: one line a report."""

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
    """The metrics in the file of a run folder."""

    file: Path

    def add(self, record: dict[str, Any]) -> None:
        """Add a line.

        Raises:
            UserError: it cannot be written, as on a full disk.
        """
        try:
            with open(self.file, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise unwritten(self.file, str(error.strerror), self.file.parent) from None

    def records(self) -> list[dict[str, Any]]:
        """The lines; a last one that was cut short by a kill does not count.

        Raises:
            UserError: another line is damaged.
        """
        lines = self.file.read_bytes().split(b"\n")[:-1] if self.file.is_file() else []
        return [
            json_object(line, ("update", "split"), f"{self.file}, line {number}", "delete the line")
            for number, line in enumerate(lines, 1)
        ]

    def size(self) -> int:
        """Bytes of the file; 0 before there is one."""
        return self.file.stat().st_size if self.file.is_file() else 0

    def cut(self, update: int, size: int | None = None) -> None:
        """Forget what was logged after an update, and what stands after the first so many bytes."""
        if size is not None and self.size() < size:
            log.warning("%s lacks lines from before the checkpoint; they are not made again", self.file)
        if self.file.is_file():
            lines = zip(self.file.read_bytes().splitlines(keepends=True), self.records(), strict=False)
            until = sum(len(line) for line, record in lines if record["update"] <= update)
            os.truncate(self.file, until if size is None else min(size, until))
