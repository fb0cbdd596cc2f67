"""Learning-rate schedules. They are pure functions of the update, so a checkpoint holds no schedule state."""

import math

from seq2seq.config import TrainingConfig


def learning_rate_at(update: int, reductions: int, training: TrainingConfig) -> float:
    """Return the learning rate of an update (counted from 1): `training.learning_rate` times a factor.

    The factor climbs linearly from 0 to 1 over the first `warmup_updates`. Then:

    - `constant`: 1.
    - `plateau`: decay_factor ** reductions; the loop counts a reduction when the dev score stops improving.
    - `inverse_sqrt`: sqrt(warmup / update) (Vaswani et al. 2017).
    - `cosine`: half a cosine, from 1 down to 0 at `max_updates` (Loshchilov and Hutter 2017).
    - `one_cycle`: a warm-up of at least 30 % of `max_updates`, then half a cosine (Smith and Topin 2018).
    """
    peak, warmup, total = training.learning_rate, training.warmup_updates, training.max_updates
    if training.schedule == "one_cycle":
        warmup = max(warmup, round(0.3 * total))
    if update < warmup:
        return peak * (update / warmup)
    match training.schedule:
        case "constant":
            return peak
        case "plateau":
            return peak * training.decay_factor**reductions
        case "inverse_sqrt":
            return peak * math.sqrt(max(warmup, 1) / max(update, 1))
        case "cosine" | "one_cycle":
            return peak * (0.5 * (1 + math.cos(math.pi * (update - warmup) / max(total - warmup, 1))))
