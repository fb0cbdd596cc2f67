"""The vocabulary product and its loss: the largest part of an update.

z_t = W_y s_t + b_y                                                  the logits
L   = - sum_t sum_v q_tv log softmax(z_t)_v                          q: 1 - epsilon on y_t, epsilon / vocab everywhere
    =   sum_t log sum_v exp z_tv - (1 - epsilon) z_ty - epsilon mean_v z_tv
dL / dz_t = softmax(z_t) - q_t

The loss computes its gradient in the forward pass, in place of the logits, for a few rows at a time in one buffer. So
no logits are kept for the backward pass, and memory does not grow with the batch.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from seq2seq import fast
from seq2seq.fast.precision import product_dtype
from seq2seq.shapes import Float, Int64

ROWS = 512  # rows of the buffer: fewer rows make the products small, more rows do not fit into the cache


def cross_entropy(
    s: Float[Tensor, "rows attentional"],
    W: Float[Tensor, "vocab attentional"],
    b: Float[Tensor, " vocab"],
    y: Int64[Tensor, " rows"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Return the cross entropy of softmax(W s_t + b) against y_t in nats, summed over rows."""
    return (fused_cross_entropy if fast.is_on_for(s) else plain_cross_entropy)(s, W, b, y, label_smoothing)


def plain_cross_entropy(s: Tensor, W: Tensor, b: Tensor, y: Tensor, label_smoothing: float) -> Tensor:
    """Return the same in torch's own functions."""
    return F.cross_entropy(F.linear(s, W, b), y, reduction="sum", label_smoothing=label_smoothing)


def fused_cross_entropy(s: Tensor, W: Tensor, b: Tensor, y: Tensor, label_smoothing: float) -> Tensor:
    """Return the same, with the gradients made in the forward pass."""
    s, W, b = (x.to(product_dtype(x)) for x in (s, W, b))
    return _CrossEntropy.apply(s, W, b, y, label_smoothing, torch.is_grad_enabled())


class _CrossEntropy(torch.autograd.Function):
    """The loss, and with `training` the gradients as well, in one pass over the rows."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, W: Tensor, b: Tensor, y: Tensor, epsilon: float, training: bool) -> Tensor:
        vocab, wide = W.size(0), torch.promote_types(s.dtype, torch.float32)  # sums are at least float32
        buffer = s.new_empty(min(ROWS, len(s)), vocab)
        # sum_t mean_v z_tv, by the means of W and b
        total = -epsilon * (s.sum(0, dtype=wide) @ W.mean(0, dtype=wide) + len(s) * b.mean(dtype=wide))
        ds, dW, db = torch.empty_like(s), torch.zeros_like(W), torch.zeros_like(b, dtype=wide)
        for s_t, y_t, ds_t in zip(s.split(ROWS), y[:, None].split(ROWS), ds.split(ROWS), strict=True):
            # the logits, and those of y_t
            z = torch.addmm(b, s_t, W.t(), out=buffer[: len(s_t)])
            total -= (1 - epsilon) * z.gather(1, y_t).sum(dtype=wide)

            # log sum exp; from here on the buffer holds exp(z - largest)
            largest = z.amax(1, keepdim=True)
            p = z.sub_(largest).exp_()
            mass = p.sum(1, keepdim=True)
            total += (mass.to(wide).log() + largest).sum()

            # the gradients; from here on the buffer holds softmax(z) - q
            if training:
                dz = p.div_(mass).sub_(epsilon / vocab)
                dz.scatter_add_(1, y_t, dz.new_full(y_t.shape, epsilon - 1))
                torch.mm(dz, W, out=ds_t)
                dW.addmm_(dz.t(), s_t)
                db += dz.sum(0)
        if training:
            ctx.save_for_backward(ds, dW, db)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        ds, dW, db = ctx.saved_tensors
        return ds * gradient, dW * gradient, db * gradient, None, None, None
