"""A stack of recurrent layers, the same for the encoder and the decoder."""

from collections.abc import Callable
from typing import overload

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from seq2seq.fast.cells import Loop

LAYERS: dict[str, type[nn.RNN | nn.GRU | nn.LSTM]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}

RecurrentState = Float[Tensor, "batch layer part hidden"]
"""The last state of every layer: part 0 is h; part 1, of an LSTM, is c. Two directions lie side by side in hidden."""


class Recurrent(nn.Module):
    """Layers of tanh RNN, GRU or LSTM, with dropout between them and, if asked for, a residual connection around each.

    Args:
        cell: `rnn`, `gru` or `lstm`.
        input_size: size of an input vector.
        hidden_size: size of an output vector; with two directions each has half of it.
        num_layers: how many layers.
        bidirectional: read the sequence from both ends.
        dropout: probability with which a number between two layers is zeroed.
        residual: from the second layer on, add a layer's input to its output (the first changes the size).
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        residual: bool = False,
    ):
        super().__init__()
        self.directions = 2 if bidirectional else 1
        self.parts = 2 if cell == "lstm" else 1
        self.hidden_size, self.residual = hidden_size, residual
        self.layers = nn.ModuleList(
            LAYERS[cell](size, hidden_size // self.directions, batch_first=True, bidirectional=bidirectional)
            for size in [input_size] + [hidden_size] * (num_layers - 1)
        )
        self.dropout = nn.Dropout(dropout)
        if cell == "lstm":
            self._open_forget_gates()

    @overload
    def forward(self, x: Tensor, state: Tensor | None = None, loop: Loop | None = None) -> tuple[Tensor, Tensor]: ...
    @overload
    def forward(self, x: PackedSequence, state: Tensor | None = None) -> tuple[PackedSequence, Tensor]: ...
    def forward(
        self, x: Tensor | PackedSequence, state: Tensor | None = None, loop: Loop | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """Outputs of the top layer, (batch, time, hidden) or packed as the input is, and the last state of every layer.

        Args:
            x: the input.
            state: where to start, zero if None; only one direction can be started.
            loop: that x is one position of, with a state; its cells do the same, faster than a call of torch's layers.
        """
        last = []
        for i, layer in enumerate(self.layers):
            below = x if i == 0 else _each(self.dropout, x)
            start = None if state is None else state[:, i]
            if loop is None:
                x, end = self._read(layer, below, start)
            else:
                assert isinstance(below, Tensor)
                assert start is not None
                x, end = loop.step(layer, below, start)
            last.append(end)
            if self.residual and i > 0:
                x = _each(torch.add, x, below)
        return x, torch.stack(last, dim=1)

    def _read(
        self, layer: nn.Module, x: Tensor | PackedSequence, state: Float[Tensor, "batch part hidden"] | None
    ) -> tuple[Tensor | PackedSequence, Float[Tensor, "batch part hidden"]]:
        weight = layer.get_parameter("weight_hh_l0")
        start = None if state is None else self._unpack(state.to(weight.dtype))
        with torch.autocast(weight.device.type, enabled=False):  # CUDA would run this in half precision, not in bf16
            x, end = layer(_each(Tensor.to, x, weight), start)
        return x, self._pack(end)

    def _open_forget_gates(self) -> None:
        """Start with what is in c staying there: forget gates near sigmoid(1), not 1/2 (Jozefowicz et al. 2015)."""
        for layer in self.layers:
            for name, bias in layer.named_parameters():
                if name.startswith("bias_ih"):
                    nn.init.ones_(bias.detach().chunk(4)[1])  # the gates in torch's order: input, forget, cell, output

    def _pack(self, end: Tensor | tuple[Tensor, Tensor]) -> Float[Tensor, "batch part hidden"]:
        parts = end if isinstance(end, tuple) else (end,)  # each (direction, batch, hidden / directions)
        return torch.stack([part.transpose(0, 1).flatten(1) for part in parts], dim=1)

    def _unpack(self, state: Float[Tensor, "batch part hidden"]) -> Tensor | tuple[Tensor, ...]:
        parts = tuple(part[None].contiguous() for part in state.unbind(1))
        return parts if self.parts == 2 else parts[0]


def _each(
    function: Callable[..., Tensor], x: Tensor | PackedSequence, *others: Tensor | PackedSequence
) -> Tensor | PackedSequence:
    """`function` applied number by number, to a tensor or inside a packed sequence."""
    if isinstance(x, PackedSequence):
        return x._replace(data=function(x.data, *(other.data for other in others)))
    return function(x, *others)
