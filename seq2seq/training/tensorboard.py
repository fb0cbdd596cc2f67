"""The metrics for TensorBoard too, where it is installed (`pip install "seq2seq[tensorboard]"`)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def scalars(folder: Path, update: int) -> Callable[[dict[str, Any]], None]:
    """A function that writes the numbers of a metrics record to `folder`, in place of those from after an update.

    Without TensorBoard it does nothing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return lambda record: None
    writer = SummaryWriter(str(folder), purge_step=update + 1)

    def write(record: dict[str, Any]) -> None:
        for name, value in record.items():
            if name not in ("update", "split"):
                writer.add_scalar(f"{record['split']}/{name}", value, record["update"])
        writer.flush()

    return write
