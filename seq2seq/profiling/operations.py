"""The floating-point operations of matrix products, as torch counts them, with its recurrent layers added."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch.utils.benchmark import Timer

from seq2seq.fast.precision import Precision, libraries_of

SQUARE = 2048  # rows and columns of the product that measures the limit of the machine

aten = torch.ops.aten


def _added_product(_: Sequence[int], a: Sequence[int], b: Sequence[int], *__: Any, **___: Any) -> int:
    return 2 * prod(a) * b[-1]


def _fused_lstm(x: Sequence[int], W: Sequence[int], U: Sequence[int], *_: Any, **__: Any) -> int:
    """Count the forward pass of an LSTM of one direction: W x_t and U h_{t-1} at every position of every sentence."""
    return 2 * prod(x[:-1]) * (prod(W) + prod(U))


def _cudnn_rnn(x: Sequence[int], weights: Sequence[Sequence[int]], *_: Any, **__: Any) -> int:
    """Count the forward pass of a recurrent layer on a GPU: the same for each direction (biases are vectors)."""
    return 2 * prod(x[:-1]) * sum(prod(weight) for weight in weights if len(weight) == 2)


# The operations that FlopCounterMode counts as 0. The arguments of a formula are the shapes of the operation's
# arguments. In the backward pass, the gradients of both factors of a product take one product each.
FORMULAS = {
    aten.addmm_: _added_product,
    aten.baddbmm_: _added_product,
    aten.mkldnn_rnn_layer: _fused_lstm,
    aten.mkldnn_rnn_layer_backward: lambda *shapes, **_: 2 * _fused_lstm(*shapes),
    aten._cudnn_rnn: _cudnn_rnn,
    aten._cudnn_rnn_backward: lambda *shapes, **_: 2 * _cudnn_rnn(*shapes),
}


def square_rate(precision: Precision, device: torch.device) -> float:
    """Return the operations per second of a product of two SQUARE x SQUARE matrices, by the fastest way that torch has.

    The ways are the libraries of a precision on a CPU, and with bf16 also factors in bfloat16.
    """
    is_bf16, rates = precision.name == "bf16", []
    libraries = (
        [precision] if device.type != "cpu" else [precision._replace(products=p) for p in libraries_of(precision)]
    )
    for each in libraries:
        for dtype in (torch.float32, torch.bfloat16)[: 1 + is_bf16]:
            a, b = torch.randn(2, SQUARE, SQUARE, dtype=dtype, device=device)
            with each.settings():
                timer = Timer("a @ b", globals={"a": a, "b": b}, num_threads=torch.get_num_threads())
                rates.append(2 * SQUARE**3 / timer.blocked_autorange().median)
    return max(rates)
