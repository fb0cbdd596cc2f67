"""Recurrent layers that go one position at a time, with the weights of torch's layers and the cells as equations.

With x = W_ih x_t + b_ih and h = W_hh h_{t-1} + b_hh, cut into as many parts as there are gates:

RNN     h_t = tanh(x + h)
GRU     r, z = sigmoid(x + h), n = tanh(x_n + r * h_n)           h_t = (1 - z) * n + z * h_{t-1}
LSTM    i, f, o = sigmoid(x + h), g = tanh(x + h)                c_t = f * c_{t-1} + i * g,   h_t = o * tanh(c_t)

A decoder needs this where a step depends on the result of the step before. There a call of torch's layer takes longer
than its work. And its gradient for a weight, sum_t dy_t x_t^T, costs a short product and a sum of the weight's size at
every step. Here one long product takes the place of all these, when the backward pass has gone through all steps.

The plain twin is `Recurrent` of model/recurrent.py, called for one position after the other.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Layers(Protocol):
    """The parts of a `Recurrent` that are needed here."""

    layers: nn.ModuleList
    dropout: nn.Dropout
    residual: bool


class OneAtATime:
    """The layers of a `Recurrent`, for a loop over positions; a call gives what the `Recurrent` gives.

    The weights must not change until the backward pass is over.

    Args:
        recurrent: with layers of one direction.
        rows: the size of the batch.
        steps: the length of the loop: how often this is called.
    """

    def __init__(self, recurrent: Layers, rows: int, steps: int):
        self._cells = [Cell(layer, rows, steps) for layer in recurrent.layers]
        self._dropout, self._residual = recurrent.dropout, recurrent.residual

    def __call__(
        self, x: Float[Tensor, "batch 1 input"], state: Float[Tensor, "batch layer part hidden"]
    ) -> tuple[Float[Tensor, "batch 1 hidden"], Float[Tensor, "batch layer part hidden"]]:
        """Return the output of the top layer, and the state of every layer after x."""
        last = []
        for i, cell in enumerate(self._cells):
            below = x if i == 0 else self._dropout(x)
            end = cell(below[:, 0], state[:, i])
            x = end[:, :1]
            if self._residual and i > 0:
                x = x + below
            last.append(end)
        return x, torch.stack(last, dim=1)


class Cell:
    """One step of an `nn.RNN`, `nn.GRU` or `nn.LSTM` of one direction."""

    def __init__(self, layer: nn.Module, rows: int, steps: int):
        W_ih, W_hh, b_ih, b_hh = layer.parameters()
        self._equations = EQUATIONS[type(layer)]
        self._input, self._hidden = Product(W_ih, b_ih, rows, steps), Product(W_hh, b_hh, rows, steps)

    def __call__(
        self, x: Float[Tensor, "batch input"], state: Float[Tensor, "batch part hidden"]
    ) -> Float[Tensor, "batch part hidden"]:
        """Return the state after x; its first part, h, is the output too."""
        return torch.stack(self._equations(self._input(x), self._hidden(state[:, 0]), *state.unbind(1)), dim=1)


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

    W is detached, and each step adds its own copy of b. So the gradient of all the copies, which autograd finds, holds
    every dy_t. With the x_t, which are kept here, it gives the gradients of W and of b.
    """

    def __init__(self, W: Float[Tensor, "output input"], b: Float[Tensor, " output"], rows: int, steps: int):
        self._learns = torch.is_grad_enabled() and W.requires_grad
        self._W, self._b = W, b
        if self._learns:
            self._W = W.detach()
            self._inputs: list[Tensor] = []
            self._copies = list(_Copies.apply(W, b, rows, steps, self._inputs))

    def __call__(self, x: Float[Tensor, "rows input"]) -> Float[Tensor, "rows output"]:
        """Return W x + b."""
        if not self._learns:
            return torch.addmm(self._b, x, self._W.t())
        self._inputs.append(x.detach())
        return torch.addmm(self._copies.pop(), x, self._W.t())  # the last copy first, so the inputs lie in reverse


class _Copies(torch.autograd.Function):
    """A copy of b for each step and row. The gradient of the copies, dy, makes the gradients of W and of b."""

    @staticmethod
    def forward(ctx: Any, W: Tensor, b: Tensor, rows: int, steps: int, inputs: list[Tensor]) -> Tensor:
        ctx.inputs = inputs
        return b.expand(steps, rows, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Float[Tensor, "step row output"]) -> tuple[Tensor | None, ...]:
        dy, x = dy.flatten(0, 1), torch.cat(ctx.inputs[::-1])
        return dy.t() @ x, dy.sum(0), None, None, None
