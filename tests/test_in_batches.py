"""Items in batches: what comes out, whatever the order, the batches and the threads."""

import threading

import pytest
import torch

from seq2seq import fast
from seq2seq.fast.side_by_side import WORKERS, _cores, in_batches, side_by_side

ITEMS = [[3], [1, 1, 1, 1], [], [2, 5], [4, 4], [0, 1, 2], [9]]


@pytest.fixture(params=[1, 2, 9])
def threads(request):
    """How many threads torch has; afterwards it has as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
@pytest.mark.parametrize("in_turn", [False, True])
def test_results_come_in_the_order_of_the_items_and_batches_have_like_sizes(threads, batch_size, in_turn):
    batches = []

    def sums(items):
        assert torch.is_inference_mode_enabled()
        batches.append(items)
        return [sum(item) for item in items]

    assert in_batches(sums, ITEMS, len, batch_size, in_turn=in_turn) == [sum(item) for item in ITEMS]
    sizes = sorted([[len(item) for item in batch] for batch in batches], reverse=True)
    assert sizes == [[4, 3, 2, 2, 1, 1, 0][start : start + batch_size] for start in range(0, 7, batch_size)]
    assert torch.get_num_threads() == threads


def test_batches_run_side_by_side_and_share_the_threads_that_torch_has(threads):
    workers = min(threads, WORKERS)
    together = threading.Barrier(workers, timeout=600)  # breaks where fewer run at a time

    def shares(items):
        together.wait()
        return [torch.get_num_threads()]

    assert in_batches(shares, ITEMS[:workers], len, 1) == [threads // workers] * workers


def test_while_another_caller_has_the_cores_everything_runs_in_this_thread(threads):
    seen = []
    with _cores:
        in_batches(lambda items: [seen.append(threading.current_thread())], ITEMS, len, 1)
    assert set(seen) == {threading.current_thread()}


@pytest.mark.parametrize(("in_turn", "on"), [(True, True), (False, False)])
def test_in_turn_and_with_the_fast_ways_off_everything_runs_in_this_thread(monkeypatch, threads, in_turn, on):
    seen = []
    monkeypatch.setattr(fast, "ON", on)
    in_batches(lambda items: [seen.append(threading.current_thread())], ITEMS, len, 1, in_turn=in_turn)
    assert set(seen) == {threading.current_thread()}


def test_side_by_side_gives_what_its_plain_twin_gives(threads):
    batches = [[i, 2 * i] for i in range(7)]
    assert side_by_side(sum, batches, min(threads, WORKERS)) == [sum(batch) for batch in batches]


def test_what_a_batch_raises_is_raised_and_the_threads_are_as_before(threads):
    def fails(items):
        if [2, 5] in items:
            raise ValueError("of this batch")
        return items

    with pytest.raises(ValueError, match="of this batch"):
        in_batches(fails, ITEMS, len, 2)
    assert torch.get_num_threads() == threads


def test_of_nothing_comes_nothing(threads):
    assert in_batches(lambda items: items, [], len, 2) == []
