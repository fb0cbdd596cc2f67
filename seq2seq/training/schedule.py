"""Learning-rate schedules: pure functions of the update, so that a resumed run needs no schedule state."""

import math


def rate(schedule: str, update: int, *, warmup: int, total: int, reductions: int = 0, factor: float = 0.5) -> float:
    """What to multiply the learning rate with at an update (counted from 1).

    The first `warmup` updates climb linearly to 1. Then:

    - `constant`: 1.
    - `plateau`: factor ** reductions; the loop counts a reduction when the dev score stands still.
    - `inverse_sqrt`: falls with the square root of the updates since the warm-up (Vaswani et al. 2017).
    - `cosine`: half a cosine, from 1 to 0 at `total` (Loshchilov and Hutter 2017).
    - `one_cycle`: climbs over the first 30 % of `total`, or the warm-up, then half a cosine (Smith and Topin 2018).

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
