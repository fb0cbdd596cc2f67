"""Recurrent layers for one position at a time, with the weights of torch's layers and the equations of the cells.

With x = W_ih x_t + b_ih and h = W_hh h_{t-1} + b_hh, cut into as many parts as there are gates:

RNN     h_t = tanh(x + h)
GRU     r, z = sigmoid(x + h), n = tanh(x_n + r * h_n)           h_t = (1 - z) * n + z * h_{t-1}
LSTM    i, f, o = sigmoid(x + h), g = tanh(x + h)                c_t = f * c_{t-1} + i * g,   h_t = o * tanh(c_t)

A decoder needs this if a step depends on the result of the previous step. Then the call of torch's layer takes longer
than its computation, and the gradient of a weight, sum_t dy_t x_t^T, needs a short product and a sum of the weight's
size in every step. Here one long product, after all steps, replaces these.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seq2seq.fast.precision import recurrent_dtype
from seq2seq.shapes import Float


class _Recurrent(Protocol):
    layers: nn.ModuleList
    dropout: nn.Dropout
    residual: bool


class OneAtATime:
    """The layers of a `Recurrent` of one direction, for a loop of `steps` positions over a batch of `rows` sentences.

    A call returns the same as the `Recurrent`. The weights must not change until the backward pass is over.
    """

    def __init__(self, recurrent: _Recurrent, rows: int, steps: int):
        self._recurrent = recurrent
        self._products = []
        for layer in recurrent.layers:
            W_ih, W_hh, b_ih, b_hh = layer.parameters()
            self._products.append((Product(W_ih, b_ih, rows, steps), Product(W_hh, b_hh, rows, steps)))

    def __call__(
        self, x: Float[Tensor, "batch 1 input"], state: Float[Tensor, "batch layer part hidden"]
    ) -> tuple[Float[Tensor, "batch 1 hidden"], Float[Tensor, "batch layer part hidden"]]:
        """Return the output of the top layer, and the state of every layer after x."""
        last = []
        for i, (layer, (W_ih, W_hh)) in enumerate(zip(self._recurrent.layers, self._products, strict=True)):
            below, before = x if i == 0 else self._recurrent.dropout(x), state[:, i]
            end = torch.stack(EQUATIONS[type(layer)](W_ih(below[:, 0]), W_hh(before[:, 0]), *before.unbind(1)), dim=1)
            x = end[:, :1]  # h
            if self._recurrent.residual and i > 0:
                x = x + below
            last.append(end)
        return x, torch.stack(last, dim=1)


def _rnn(x: Tensor, h: Tensor, before: Tensor) -> tuple[Tensor, ...]:
    return (torch.tanh(x + h),)


def _gru(x: Tensor, h: Tensor, before: Tensor) -> tuple[Tensor, ...]:
    (x_r, x_z, x_n), (h_r, h_z, h_n) = x.chunk(3, -1), h.chunk(3, -1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return ((1 - z) * n + z * before,)


def _lstm(x: Tensor, h: Tensor, before: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    i, f, g, o = (x + h).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


EQUATIONS: dict[type[nn.Module], Callable[..., tuple[Tensor, ...]]] = {nn.RNN: _rnn, nn.GRU: _gru, nn.LSTM: _lstm}


class Product:
    """The product y_t = W x_t + b of every step of a loop, with the gradients of W and b taken once, after the loop.

    W is detached, and each step adds its own copy of b. So autograd computes every dy_t: it is the
    gradient of a copy. The gradients of W and b follow from the dy_t and from the x_t, which are kept here.
    """

    def __init__(self, W: Float[Tensor, "output input"], b: Float[Tensor, " output"], rows: int, steps: int):
        self._learns = torch.is_grad_enabled() and W.requires_grad
        W, b = W.to(recurrent_dtype(W)), b.to(recurrent_dtype(W))
        self._W, self._b = W, b
        if self._learns:
            self._W = W.detach()
            self._inputs: list[Tensor] = []
            self._copies = list(_Copies.apply(W, b, rows, steps, self._inputs))

    def __call__(self, x: Float[Tensor, "rows input"]) -> Float[Tensor, "rows output"]:
        """Return W x + b, in the type of x."""
        rows = x.to(self._W.dtype)
        if not self._learns:
            return torch.addmm(self._b, rows, self._W.t()).to(x.dtype)
        self._inputs.append(rows.detach())
        b = self._copies.pop()  # the last first, as inputs lie in reverse
        return torch.addmm(b, rows, self._W.t()).to(x.dtype)


class _Copies(torch.autograd.Function):
    """The copies of b, one for each step and row. The backward pass makes the gradients of W and b from theirs, dy."""

    @staticmethod
    def forward(ctx: Any, W: Tensor, b: Tensor, rows: int, steps: int, inputs: list[Tensor]) -> Tensor:
        ctx.inputs = inputs
        return b.expand(steps, rows, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Float[Tensor, "step row output"]) -> tuple[Tensor | None, ...]:
        dy, x = dy.flatten(0, 1), torch.cat(ctx.inputs[::-1])
        return dy.t() @ x, dy.sum(0), None, None, None
