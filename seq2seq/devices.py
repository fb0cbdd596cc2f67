"""The device of the computation."""

import torch

from seq2seq.errors import UserError


def choose_device(name: str) -> torch.device:
    """Return the device of a name in a config; `auto` is the first of cuda, mps and cpu that the machine has."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"there is no device {name}; write auto, cpu, cuda, cuda:1 or mps") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type) or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise UserError(f"the device is to be {name}, which this machine does not have; write auto or cpu")
    return device
