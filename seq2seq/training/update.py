"""One update of the weights.

loss = - sum_t log p(y_t | y_<t, x) / (real target tokens of the update, in all processes), with label smoothing,
       + coverage_loss * sum_t sum_i min(a_ti, sum of a_t'i over t' < t) / (the same), where asked for
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from seq2seq.config import TrainingConfig
from seq2seq.data.batches import Batch
from seq2seq.fast.loss import cross_entropy
from seq2seq.fast.precision import FP32, Precision
from seq2seq.model.past import coverage_loss
from seq2seq.model.seq2seq import Seq2Seq
from seq2seq.text.tokenizer import PAD
from seq2seq.training.processes import ALONE, Processes


class UpdateResult(NamedTuple):
    """The loss and the gradient of an update, over all processes."""

    loss: float  # nats a target token
    gradient_norm: float  # before clipping
    tokens: float  # real target tokens

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
    total = 0.0
    optimizer.zero_grad()
    with precision.settings():
        for batch in micro_batches:
            # forward and loss
            with precision.forward():
                loss = loss_sum(model, batch, training.label_smoothing, training.coverage_loss) / tokens
            # backward
            loss.backward()
            total += loss.item()

    # sum over the processes, clip
    processes.sum_gradients(model.parameters())
    norm = nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm or math.inf).item()

    # step
    result = UpdateResult(processes.sum(total), norm, tokens)
    if result.is_finite:
        optimizer.step()
    return result


def loss_sum(model: Seq2Seq, batch: Batch, label_smoothing: float = 0.0, coverage: float = 0.0) -> Float[Tensor, ""]:
    """Return the cross entropy of a batch in nats, plus `coverage` times its coverage loss, summed over real tokens."""
    attentional, weights, _ = model(batch.src, batch.src_lengths, batch.tgt_in)
    loss = cross_entropy_sum(model, attentional, batch.tgt_out, label_smoothing)
    return loss + coverage * coverage_loss(weights.mean(1))[batch.tgt_out != PAD].sum() if coverage else loss


def cross_entropy_sum(
    model: Seq2Seq,
    attentional: Float[Tensor, "batch tgt attentional"],
    tgt_out: Int64[Tensor, "batch tgt"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Return the cross entropy in nats, summed over real tokens; logits are computed for these only."""
    real = tgt_out != PAD
    s = model.decoder.dropout(attentional[real])
    W_y = model.decoder.W_y
    return cross_entropy(s, W_y.weight, W_y.bias, tgt_out[real], label_smoothing)


def make_optimizer(training: TrainingConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of a config. With `fused` it makes one pass over weights, gradients and moments."""
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    optimizer: torch.optim.Optimizer = kinds[training.optimizer](
        model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    return optimizer
