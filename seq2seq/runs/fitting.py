"""The size of a model, and whether it fits into memory, before it is built."""

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from seq2seq.build import assemble
from seq2seq.config import Config
from seq2seq.devices import free_memory
from seq2seq.errors import UserError
from seq2seq.text.tokenizer import Tokenizers


def count_parameters(model: nn.Module) -> int:
    """Count the numbers that a model learns; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def must_fit(config: Config, tokenizers: Tokenizers, device: torch.device, *, training: bool) -> None:
    """Raise UserError, before anything is allocated, if a model and its optimizer need more memory than there is.

    In training a weight has a gradient too, with adam and adamw two moments, and with `ema` its average.
    """
    with torch.device("meta"), _WithoutNormal():  # allocate nothing
        count = count_parameters(assemble(config, tokenizers))
    numbers = 1 if not training else (2 if config.training.optimizer == "sgd" else 4) + bool(config.training.ema)
    needed, free = 4 * numbers * count, free_memory(device)
    if needed <= free:
        return

    # the error names the keys that make a model large, with their values
    model = config.model
    sizes = {"model.embedding_size": model.embedding_size, "tokenizer.vocab_size": len(tokenizers.tgt)}
    for name, part in (("encoder", model.encoder), ("decoder", model.decoder)):
        sizes |= {f"model.{name}.hidden_size": part.hidden_size, f"model.{name}.num_layers": part.num_layers}
    if model.attention.score == "location":
        sizes["data.max_length"] = config.data.max_length
    listed = ", ".join(f"{key} ({size})" for key, size in sizes.items())
    what = "weights, gradients and optimizer" if training else "weights"
    raise UserError(
        f"the model is too large: its {count:,} parameters need {needed / 1e9:,.1f} GB for {what}, and {device} has "
        f"{free / 1e9:,.1f} GB free; lower one of {listed}"
    )


class _WithoutNormal(TorchFunctionMode):
    """A mode in which `normal_` does nothing: on the device `meta` its first call would import for most of a second."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return [*args, *kwargs.values()][0] if function.__name__ == "normal_" else function(*args, **kwargs)
