"""Learning-rate schedules: pure functions of the update, so that a resumed run needs no schedule state."""

import math

from seq2seq.config import TrainingConfig


def rate(schedule: str, update: int, *, warmup: int, total: int, reductions: int = 0, factor: float = 0.5) -> float:
    """Return what multiplies the learning rate at an update, counted from 1.

    It climbs linearly from 0 to 1 over the first `warmup` updates. Then:

    - `constant`: 1.
    - `plateau`: factor ** reductions; the loop counts a reduction when the dev score stops improving.
    - `inverse_sqrt`: sqrt(warmup / update) (Vaswani et al. 2017).
    - `cosine`: half a cosine, from 1 down to 0 at `total` (Loshchilov and Hutter 2017).
    - `one_cycle`: a warm-up of at least 30 % of `total`, then half a cosine (Smith and Topin 2018).

    Raises:
        ValueError: an unknown schedule.
    """
    if schedule == "one_cycle":
        warmup = max(warmup, round(0.3 * total))
    if update < warmup:
        return update / warmup
    match schedule:
        case "constant":
            return 1.0
        case "plateau":
            return factor**reductions
        case "inverse_sqrt":
            return math.sqrt(max(warmup, 1) / max(update, 1))
        case "cosine" | "one_cycle":
            return 0.5 * (1 + math.cos(math.pi * (update - warmup) / max(total - warmup, 1)))
    raise ValueError(f"unknown schedule {schedule!r}")


def learning_rate_at(update: int, reductions: int, training: TrainingConfig) -> float:
    """Return the learning rate of an update, counted from 1, after so many reductions by the schedule `plateau`."""
    return training.learning_rate * rate(
        training.schedule,
        update,
        warmup=training.warmup_updates,
        total=training.max_updates,
        reductions=reductions,
        factor=training.decay_factor,
    )
