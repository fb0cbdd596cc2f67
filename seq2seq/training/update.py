"""One update of the weights.

loss = - sum_t log p(y_t | y_<t, x) / (real target tokens of the update, in all processes), with label smoothing,
       + coverage_loss * sum_t sum_i min(a_ti, sum of a_t'i over t' < t) / (the same), where asked for
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.config import TrainingConfig
from seq2seq.data.batches import Batch
from seq2seq.fast.loss import cross_entropy
from seq2seq.fast.precision import FP32, Precision
from seq2seq.model.past import coverage_loss
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.shapes import Float
from seq2seq.text.tokenizer import PAD
from seq2seq.training.processes import ALONE, Processes


class UpdateResult(NamedTuple):
    """The loss and the gradient of an update, over all processes."""

    loss: float  # what was minimized, nats a target token
    gradient_norm: float  # before clipping
    tokens: float  # real target tokens
    cross_entropy: float  # nats a target token: the loss without label smoothing and coverage loss

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient are finite, so that the optimizer made its step."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


def update(
    model: Seq2Seq,
    optimizer: torch.optim.Optimizer,
    micro_batches: list[Batch],
    training: TrainingConfig,
    *,
    precision: Precision = FP32,
    processes: Processes = ALONE,
) -> UpdateResult:
    """Make one step of the optimizer, on the batches of all processes.

    If the loss or the gradient is not finite, there is no step, so weights and optimizer stay as they are.
    """
    tokens = processes.sum(sum(batch.tokens for batch in micro_batches))
    mean_loss, cross_entropy_sum = 0.0, 0.0  # nats a token, nats
    optimizer.zero_grad()
    with precision.settings():
        for batch in micro_batches:
            # forward and loss
            with precision.forward():
                sums = losses(model, batch, training.label_smoothing, training.coverage_loss)
                loss = sums.loss / tokens
            # backward
            loss.backward()
            mean_loss += loss.item()
            cross_entropy_sum += sums.cross_entropy.item()

    # sum over the processes, clip
    processes.sum_gradients(model.parameters())
    norm = nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm or math.inf).item()

    # step
    result = UpdateResult(processes.sum(mean_loss), norm, tokens, processes.sum(cross_entropy_sum) / tokens)
    if result.is_finite:
        optimizer.step()
    return result


class Losses(NamedTuple):
    """The losses of a batch in nats, summed over real tokens, and where the model looked."""

    loss: Float[Tensor, ""]  # what is minimized
    cross_entropy: Float[Tensor, ""]  # what is shown; it has no gradient
    weights: Float[Tensor, "batch head tgt src"]


def losses(model: Seq2Seq, batch: Batch, label_smoothing: float = 0.0, coverage: float = 0.0) -> Losses:
    """Return the losses of a batch: the cross entropy with label smoothing, and with a weight the coverage loss.

    The cross entropy without smoothing needs no logits of its own. With z_t = W_y s_t + b_y, token by token:

    -log p(y_t) = smoothed loss - epsilon (z_ty - mean_v z_tv),   mean_v z_tv = (mean row of W_y) s_t + mean of b_y
    """
    attentional, weights, _ = model(batch.src, batch.src_lengths, batch.tgt_in)
    real = batch.tgt_out != PAD
    s, y = model.decoder.dropout(attentional[real]), batch.tgt_out[real]
    W, b = model.decoder.W_y.weight, model.decoder.W_y.bias
    loss = cross_entropy(s, W, b, y, label_smoothing)
    nats = loss.detach()
    if label_smoothing:
        with torch.no_grad():
            above_mean = (s * W[y]).sum() + b[y].sum() - (s.sum(0, dtype=W.dtype) * W.mean(0)).sum() - len(y) * b.mean()
        nats = nats - label_smoothing * above_mean
    if coverage:
        loss = loss + coverage * coverage_loss(weights.mean(1))[real].sum()
    return Losses(loss, nats, weights)


def make_optimizer(training: TrainingConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of a config. With `fused` it makes one pass over weights, gradients and moments."""
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    optimizer: torch.optim.Optimizer = kinds[training.optimizer](
        model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    return optimizer
