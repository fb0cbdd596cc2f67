"""The queue of the server: who is served with whom, in which order, and who is not. The work here: double numbers."""

import asyncio
from threading import Event

import pytest

from seq2seq.serving import queue
from seq2seq.serving.queue import MOST, SHORT, Full, Queue, Superseded


class Work:
    """Doubles numbers, once `go` is set, and remembers what it was called with."""

    def __init__(self):
        self.calls, self.started, self.go = [], Event(), Event()

    def __call__(self, key, items):
        self.calls.append((key, list(items)))
        self.started.set()
        assert self.go.wait(60)
        if "bad" in items:
            raise ValueError("bad")
        return [2 * item for item in items]


def tried(asks, **kwargs):
    """What each of several requests is answered that came, in their order, while the model was at work on a first one.

    Returns the answers, and the calls behind the first.
    """

    async def main():
        work = Work()
        queue = Queue(work)
        first = asyncio.ensure_future(queue.ask("first", [0]))
        await asyncio.to_thread(work.started.wait)
        tasks = []
        for ask in asks:
            tasks.append(asyncio.ensure_future(queue.ask(*ask)))
            await asyncio.sleep(0)  # it is in the queue
        for number in kwargs.get("gone", []):
            tasks[number].cancel()
            await asyncio.sleep(0)
        work.go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert await first == [0]
        await queue.close()
        return answers, work.calls[1:]

    return asyncio.run(main())


def test_requests_that_wait_together_are_one_call_if_their_keys_are_equal():
    answers, calls = tried([("a", [1, 2]), ("b", [3]), ("a", [4])])
    assert answers == [[2, 4], [6], [8]]
    assert calls == [("a", [1, 2, 4]), ("b", [3])]


def test_a_call_has_its_limit_and_a_request_of_nothing_an_answer():
    answers, calls = tried([("a", [i] * SHORT) for i in range(MOST // SHORT + 1)] + [("a", [])])
    assert [len(items) for _, items in calls] == [MOST, SHORT]
    assert answers[-2:] == [[2 * (MOST // SHORT)] * SHORT, []]


def test_a_short_request_overtakes_a_long_one_which_is_served_in_turns():
    long = list(range(3 * MOST))
    answers, calls = tried([("a", long), ("a", [1]), ("b", [2])])
    assert answers == [[2 * i for i in long], [2], [4]]
    assert [items[:1] for _, items in calls[:3]] == [[1], [0], [2]]
    assert sum(len(items) for key, items in calls if key == "a") == len(long) + 1


def test_long_requests_take_turns():
    _, calls = tried([("a", [1] * 2 * MOST), ("b", [2] * 2 * MOST)])
    assert [key for key, _ in calls[:4]] == ["a", "b", "a", "b"]


def test_a_newer_request_of_the_same_owner_ends_the_older_one():
    answers, calls = tried([("a", [1], "me"), ("a", [2], "you"), ("a", [3], "me")])
    assert isinstance(answers[0], Superseded)
    assert answers[1:] == [[4], [6]]
    assert calls == [("a", [2, 3])]


def test_what_nobody_waits_for_is_not_done():
    answers, calls = tried([("a", [1]), ("a", [2])], gone=[0])
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1] == [4]
    assert calls == [("a", [2])]


def test_an_error_ends_its_requests_and_not_the_queue():
    answers, _ = tried([("a", ["bad"]), ("b", [1])])
    assert isinstance(answers[0], ValueError)
    assert answers[1] == [2]


def test_a_full_queue_and_a_closed_one_refuse(monkeypatch):
    monkeypatch.setattr(queue, "ROOM", 3)
    answers, _ = tried([("a", [1]), ("a", [2, 3])])
    assert answers[0] == [2]
    assert isinstance(answers[1], Full)

    async def ask_closed():
        closed = Queue(Work())
        await closed.close()
        await closed.ask("a", [1])

    with pytest.raises(Full):
        asyncio.run(ask_closed())
