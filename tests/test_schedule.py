"""Learning-rate schedules: anchors and shapes."""

import itertools
import math

import pytest

from seq2seq.config import TrainingConfig
from seq2seq.training.schedule import learning_rate_at

SCHEDULES = ["constant", "plateau", "inverse_sqrt", "cosine", "one_cycle"]


def rate(schedule, update, *, warmup, total, reductions=0, factor=0.5):
    keys = {"warmup_updates": warmup, "max_updates": total, "decay_factor": factor}
    return learning_rate_at(update, reductions, TrainingConfig(schedule=schedule, learning_rate=1.0, **keys))


def rates(schedule, warmup=10, total=100, **options):
    """At updates 1, 2, ..., total."""
    return [rate(schedule, update, warmup=warmup, total=total, **options) for update in range(1, total + 1)]


def falls(numbers):
    return all(a > b for a, b in itertools.pairwise(numbers))


@pytest.mark.parametrize("schedule", ["constant", "plateau", "inverse_sqrt", "cosine"])
def test_the_warmup_climbs_linearly_to_one(schedule):
    assert rates(schedule)[:10] == pytest.approx([n / 10 for n in range(1, 11)])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 1, 10, 100, 150])
def test_a_rate_is_above_or_at_zero_and_never_over_one(schedule, warmup):
    assert all(0 <= r <= 1 for r in rates(schedule, warmup))
    assert rates(schedule, warmup)[0] > 0


@pytest.mark.parametrize("schedule", ["constant", "plateau", "inverse_sqrt"])
def test_without_warmup_the_first_rate_is_one(schedule):
    assert rates(schedule, warmup=0)[0] == 1


def test_constant_stays():
    assert rates("constant")[9:] == [1.0] * 91


def test_plateau_multiplies_once_a_reduction():
    assert rate("plateau", 50, warmup=0, total=100, reductions=0) == 1
    assert rate("plateau", 50, warmup=0, total=100, reductions=3) == 0.125
    assert rate("plateau", 50, warmup=0, total=100, reductions=2, factor=0.1) == pytest.approx(0.01)


def test_inverse_sqrt_halves_when_the_updates_have_quadrupled():
    by_update = rates("inverse_sqrt")
    assert by_update[40 - 1] == pytest.approx(0.5)
    assert by_update[90 - 1] == pytest.approx(1 / 3)
    assert rates("inverse_sqrt", warmup=0)[9 - 1] == pytest.approx(1 / 3)
    assert falls(by_update[9:])


def test_cosine_is_half_a_cosine_from_the_warmup_to_the_end():
    by_update = rates("cosine")
    assert by_update[55 - 1] == pytest.approx(0.5)  # halfway from 10 to 100
    assert by_update[40 - 1] == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))
    assert by_update[-1] == pytest.approx(0)
    assert falls(by_update[9:])


@pytest.mark.parametrize(("warmup", "peak"), [(0, 30), (10, 30), (60, 60)])
def test_one_cycle_climbs_for_three_tenths_or_the_warmup_and_then_falls_to_zero(warmup, peak):
    by_update = rates("one_cycle", warmup)
    assert by_update[:peak] == pytest.approx([n / peak for n in range(1, peak + 1)])
    assert falls(by_update[peak - 1 :])
    assert by_update[(peak + 100) // 2 - 1] == pytest.approx(0.5)
    assert by_update[-1] == pytest.approx(0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_of_one_update_is_defined(schedule):
    assert math.isfinite(rate(schedule, 1, warmup=0, total=1))
