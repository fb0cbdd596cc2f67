"""The device and the precision of the computation."""

import logging

import torch

from seq2seq.errors import UserError

log = logging.getLogger("seq2seq")


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


def device_to_open_on(name: str) -> torch.device:
    """Return the device of a run's config to use its model on: the CPU, with a warning, if this machine lacks it."""
    try:
        return choose_device(name)
    except UserError:
        log.warning("the model was trained on %s, which this machine does not have: going on, on the CPU", name)
        return torch.device("cpu")


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return a context for the forward pass: `bf16`, `fp32`, or with `auto` bf16 on a GPU that computes in it."""
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not able:
        raise UserError(f"training.precision is bf16, which {device} does not compute in; write auto or fp32")
    return torch.autocast(device.type, torch.bfloat16, enabled=able and precision != "fp32")
