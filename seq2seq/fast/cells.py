"""One step of the recurrent layers, as equations, with the weights of torch's layers: for loops in which a step needs
what became of the one before.

With x = W_ih x_t + b_ih and h = W_hh h_{t-1} + b_hh, cut into as many parts as there are gates:

RNN     h_t = tanh(x + h)
GRU     r, z = sigmoid(x + h), n = tanh(x_n + r * h_n)           h_t = (1 - z) * n + z * h_{t-1}
LSTM    i, f, o = sigmoid(x + h), g = tanh(x + h)                c_t = f * c_{t-1} + i * g,   h_t = o * tanh(c_t)
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Loop:
    """The cells of a loop over positions, each made of its layer when the first position comes to it."""

    def __init__(self) -> None:
        self._cells: dict[nn.Module, Cell] = {}

    def step(
        self, layer: nn.Module, x: Float[Tensor, "batch 1 input"], state: Float[Tensor, "batch part hidden"]
    ) -> tuple[Float[Tensor, "batch 1 hidden"], Float[Tensor, "batch part hidden"]]:
        """A layer's output and its state after an input. Its weights must stay as they are while the loop runs."""
        if layer not in self._cells:
            self._cells[layer] = Cell(layer)
        state = self._cells[layer](x[:, 0], state)
        return state[:, :1], state


class Cell:
    """A layer of torch, of one direction, a step at a time.

    Args:
        layer: an `nn.RNN`, `nn.GRU` or `nn.LSTM`.
    """

    def __init__(self, layer: nn.Module):
        W_ih, W_hh, b_ih, b_hh = layer.parameters()
        self._equations = EQUATIONS[type(layer)]
        self._input, self._hidden = Repeated(W_ih, b_ih), Repeated(W_hh, b_hh)

    def __call__(
        self, x: Float[Tensor, "batch input"], state: Float[Tensor, "batch part hidden"]
    ) -> Float[Tensor, "batch part hidden"]:
        """The state after an input; its first part is the output."""
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


class Repeated:
    """y_t = W x_t + b in every step of a loop.

    The gradient for W is sum_t dy_t x_t^T, which autograd would take as a short product and a sum of W's size a step.
    Here the steps of the backward pass only keep dy_t, and one long product follows when all have gone by.
    """

    def __init__(self, W: Float[Tensor, "output input"], b: Float[Tensor, " output"]):
        self._kept: Kept = {}
        self._count = itertools.count()
        self._W, self._b = _Weights.apply(W, b, self._kept)

    def __call__(self, x: Float[Tensor, "batch input"]) -> Float[Tensor, "batch output"]:
        """W x + b."""
        if not self._W.requires_grad:
            return torch.addmm(self._b, x, self._W.t())
        y: Tensor = _Product.apply(x, self._W, self._b, self._kept, next(self._count))
        return y


Kept = dict[int, tuple[Tensor, Tensor]]  # dy_t and x_t, by the step; a second backward pass writes the same once more


class _Weights(torch.autograd.Function):
    """W and b as they are; their gradients, from what the steps kept, whose backward passes come before."""

    @staticmethod
    def forward(ctx: Any, W: Tensor, b: Tensor, kept: Kept) -> tuple[Tensor, Tensor]:
        ctx.kept = kept
        ctx.set_materialize_grads(False)
        return W.view_as(W), b.view_as(b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *_: None) -> tuple[Tensor, Tensor, None]:
        dy, x = (torch.cat(each) for each in zip(*ctx.kept.values(), strict=True))
        ctx.kept.clear()
        return dy.t() @ x, dy.sum(0), None


class _Product(torch.autograd.Function):
    """A step's product; backward, it keeps what the gradients of W and b are made of."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor, kept: Kept, step: int) -> Tensor:
        ctx.save_for_backward(x, W)
        ctx.kept, ctx.step = kept, step
        return torch.addmm(b, x, W.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None, None]:
        x, W = ctx.saved_tensors
        ctx.kept[ctx.step] = dy, x
        return dy @ W, None, None, None, None
