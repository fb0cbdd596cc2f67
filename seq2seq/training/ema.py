"""The exponential moving average of the weights (Polyak and Juditsky 1992), which is validated, saved and translates.

m_t = d m_{t-1} + (1 - d) w_t        d = min(training.ema, (1 + t) / (10 + t)): at first the mean forgets quickly

The training goes on with the weights w_t. They are in the training state of a checkpoint, whose model is the mean.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from seq2seq.model.seq2seq import Seq2Seq


def make_average(model: Seq2Seq, decay: float, updates: int = 0) -> AveragedModel:
    """Return an average of a model after some updates, which begins with its present weights.

    `update_parameters(model)` adds the weights after an update; `module` is the model with the mean.
    """

    @torch.no_grad()
    def add(mean: Sequence[Tensor], weights: Sequence[Tensor], updates: Tensor | int) -> None:
        t = int(updates)
        for m, w in zip(mean, weights, strict=True):
            m.lerp_(w, 1 - min(decay, (1 + t) / (10 + t)))

    average = AveragedModel(model, multi_avg_fn=add)
    average.n_averaged.fill_(updates)
    average.to(model.decoder.W_y.weight.device)  # on a GPU this lays the weights of recurrent layers side by side again
    return average
