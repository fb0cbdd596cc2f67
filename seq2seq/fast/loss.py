"""W_y: from attentional states to the vocabulary, the largest part of a training step and of a search.

z_t = W_y s_t + b_y                                                  the logits
L   = - sum_t sum_v q_tv log softmax(z_t)_v                          q: 1 - epsilon on y_t, epsilon / vocab everywhere
    =   sum_t log sum_v exp z_tv - (1 - epsilon) z_ty - epsilon mean_v z_tv
dL / dz_t = softmax(z_t) - q_t

On a CPU two things are done with care. Each row of logits begins on a cache line, which alone makes the product up to
half as fast again as with rows of, say, 5,921 numbers one after another. And the gradient of the loss is made on the
way, in place of the logits, for a chunk of rows at a time in one buffer: no logits are kept for the backward pass, and
memory does not grow with the batch. Elsewhere, and under autocast, torch's own functions run: there this was not
measured to pay.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

ROWS = 512  # of the loss's buffer; fewer make more, smaller products, more leave the cache
LINE = 64  # bytes of a cache line


class Vocabulary(nn.Linear):
    """A linear layer with as many outputs as there are tokens; its weights are W_y and b_y."""

    def log_probs(self, s: Float[Tensor, "rows attentional"]) -> Float32[Tensor, "rows vocab"]:
        """log softmax(W_y s_t + b_y), for search: it has no gradient."""
        if not plain_cpu(s):
            return self(s).float().log_softmax(-1)
        z = _aligned(s, len(s), self.out_features)
        torch.addmm(self.bias, s, self.weight.t(), out=z[:, : self.out_features])
        z[:, self.out_features :] = -torch.inf
        return z.log_softmax(-1)[:, : self.out_features]

    def only(self, ids: Int64[Tensor, " listed"]) -> "Vocabulary":
        """A vocabulary of these tokens alone, in this order, for search: a copy of their rows."""
        listed = Vocabulary(self.in_features, len(ids), device="meta")  # where nothing is drawn at random
        listed.weight = nn.Parameter(self.weight[ids], requires_grad=False)
        listed.bias = nn.Parameter(self.bias[ids], requires_grad=False)
        return listed

    def cross_entropy(
        self, s: Float[Tensor, "rows attentional"], y: Int64[Tensor, " rows"], label_smoothing: float = 0.0
    ) -> Float[Tensor, ""]:
        """Cross entropy of softmax(W_y s_t + b_y) against y_t in nats, summed over rows."""
        if not plain_cpu(s):
            return F.cross_entropy(self(s), y, reduction="sum", label_smoothing=label_smoothing)
        loss: Float[Tensor, ""] = _CrossEntropy.apply(
            s, self.weight, self.bias, y, label_smoothing, torch.is_grad_enabled()
        )
        return loss


def plain_cpu(x: Tensor) -> bool:
    """Whether what is made of a tensor is computed on a CPU, in the precision that it has."""
    return x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def _aligned(like: Tensor, rows: int, columns: int) -> Float[Tensor, "rows columns_and_more"]:
    """Room for numbers, with a few columns more, so that each row begins on a cache line."""
    line = LINE // like.element_size()
    return like.new_empty(rows, -(-columns // line) * line)


class _CrossEntropy(torch.autograd.Function):
    """Loss and gradients in one pass over the rows; the loss alone where no gradient is wanted."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, W: Tensor, b: Tensor, y: Tensor, epsilon: float, training: bool) -> Tensor:
        vocab = W.size(0)
        buffer = _aligned(s, min(ROWS, len(s)), vocab)[:, :vocab]
        total = s.new_zeros(())
        ds, dW, db = torch.empty_like(s), torch.zeros_like(W), torch.zeros_like(b)
        for s_t, y_t, ds_t in zip(s.split(ROWS), y[:, None].split(ROWS), ds.split(ROWS), strict=True):
            z = torch.addmm(b, s_t, W.t(), out=buffer[: len(s_t)])
            total -= (1 - epsilon) * z.gather(1, y_t).sum() + epsilon * z.mean(1).sum()
            largest = z.amax(1, keepdim=True)
            p = z.sub_(largest).exp_()
            mass = p.sum(1, keepdim=True)
            total += (mass.log() + largest).sum()
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
