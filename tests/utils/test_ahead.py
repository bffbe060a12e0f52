"""Items worked on in threads, ahead of whoever takes the results."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from fastface.utils import ahead
from fastface.utils.ahead import mapped_ahead

_SECONDS = 10


def numbers(count: int, made: list[int] | None = None) -> Iterator[int]:
    for number in range(count):
        if made is not None:
            made.append(number)
        yield number


def slow_first(number: int) -> int:
    time.sleep(0.02 if number % 4 == 0 else 0.0)
    return number * number


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 25])
def test_results_keep_the_order(threads: int, count: int):
    with mapped_ahead(slow_first, numbers(count), lambda _: 1, "test", threads, 4) as results:
        assert list(results) == [number * number for number in range(count)]


def test_no_more_is_begun_than_there_is_room_for():
    made: list[int] = []
    with mapped_ahead(lambda n: n, numbers(50, made), lambda _: 10, "test", 8, 30) as results:
        for taken, number in enumerate(results):
            time.sleep(0.01)
            assert number == taken
            # Three are worked on or wait, one is being made, one was taken.
            assert len(made) <= taken + 5


def test_what_is_larger_than_all_room_is_worked_on_alone():
    at_work, most = [0], [0]
    lock = threading.Lock()

    def work(number: int) -> int:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        time.sleep(0.005)
        with lock:
            at_work[0] -= 1
        return number

    with mapped_ahead(work, numbers(8), lambda _: 100, "test", 4, 30) as results:
        assert list(results) == list(range(8))
    assert most[0] == 1


def test_errors_are_raised_in_their_place():
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("the fourth")
        return number

    taken = []
    with (
        pytest.raises(ValueError, match="the fourth"),
        mapped_ahead(work, numbers(10), lambda _: 1, "test", 3, 5) as results,
    ):
        taken += [number for number in results if taken.append(number)]
    assert taken == [0, 1, 2]

    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("no second")

    with mapped_ahead(work, broken(), lambda _: 1, "test", 3, 5) as results:
        assert next(results) == 1
        with pytest.raises(LookupError, match="no second"):
            next(results)


def test_whoever_leaves_early_leaves_no_thread():
    made: list[int] = []
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from numbers(1000, made)
        finally:
            closed.append(True)

    before = threading.active_count()
    began = time.monotonic()
    with mapped_ahead(slow_first, items(), lambda _: 1, "test", 4, 6) as results:
        assert next(results) == 0
    assert threading.active_count() <= before and closed
    assert len(made) < 20 and time.monotonic() - began < _SECONDS


def test_without_threads_results_are_made_when_they_are_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ahead, "start_thread", lambda *_: None)
    made: list[int] = []
    with mapped_ahead(slow_first, numbers(3, made), lambda _: 1, "test", 2, 9) as results:
        assert next(results) == 0 and made == [0]
        assert list(results) == [1, 4]
