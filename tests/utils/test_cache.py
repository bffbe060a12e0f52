"""Results are kept within number, bytes and age, and worked out once however many ask."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastface.utils.cache import ENTRY_BYTES, Bounds, Cache
from tests.utils.properties import steady


def cache(entries: int = 100, most_bytes: int = 1 << 20, seconds: float = 60, **further) -> Cache:
    bounds = Bounds(entries, most_bytes, seconds)
    return Cache("test", lambda: bounds, lambda value: getattr(value, "nbytes", 0), **further)


class TestBounds:
    def test_number(self):
        small, made = cache(entries=2), []
        for key in (1, 2, 1, 3, 1, 2):
            small.get_or_make(key, lambda key=key: made.append(key))
        assert made == [1, 2, 3, 2], "the one unused for longest goes"
        assert small.status().entries == 2 and small.status().evictions == 2

    def test_bytes(self):
        room = 3 * (1000 + ENTRY_BYTES)
        small = cache(most_bytes=room)
        for key in range(5):
            small.get_or_make(key, lambda: np.zeros(1000, np.uint8))
            assert small.status().bytes <= room
        assert small.status().entries == 3 and small.status().evictions == 2

    def test_what_is_too_large_is_given_but_not_kept(self):
        small = cache(most_bytes=4000)
        small.get_or_make("small", lambda: np.zeros(10, np.uint8))
        assert small.get_or_make("large", lambda: np.zeros(5000, np.uint8)).nbytes == 5000
        status = small.status()
        assert status.entries == 1 and status.evictions == 0, "and nothing goes for it"

    def test_age(self):
        now = [0.0]
        aging, made = cache(seconds=10, timer=lambda: now[0]), []
        for now[0] in (0, 9, 9.99, 10.01, 15, 20.02):
            aging.get_or_make("key", lambda: made.append(now[0]))
        assert made == [0, 10.01, 20.02], "asking does not make it younger"
        now[0] = 100
        status = aging.status()
        assert (status.entries, status.bytes, status.evictions) == (0, 0, 0)

    def test_nothing_is_kept_if_so_wished(self):
        nothing, made = cache(entries=0), []
        for _ in range(2):
            nothing.get_or_make("key", lambda: made.append(1))
        assert made == [1, 1] and nothing.status().entries == 0

    def test_an_entry_that_runs_out_at_any_moment_is_made_again(self):
        """The time is looked at more than once in a call; nothing must vanish between two looks."""
        for lifetime in range(1, 12):
            ticks = iter(range(10_000))
            short = cache(entries=2, seconds=lifetime, timer=lambda ticks=ticks: next(ticks))
            for number in range(12):
                assert short.get_or_make(number % 3, lambda number=number: number) is not None

    def test_random_images_keep_every_bound_and_the_hit_rate_of_what_fits(self):
        """10,000 requests for random keys: no bound is ever broken, no answer is another's."""
        random = np.random.default_rng(7)
        few = cache(entries=50, most_bytes=40_000)
        asked = random.integers(0, 100, 10_000)
        for key in asked.tolist():
            value = few.get_or_make(key, lambda key=key: np.full(key, key, np.uint8))
            assert len(value) == key and (value == key).all()
            status = few.status()
            assert status.entries <= 50 and status.bytes <= 40_000
        status = few.status()
        assert status.hits + status.misses == 10_000
        # Each of 100 keys is as likely as any other: so many hit as keys are kept.
        assert abs(status.hits / 10_000 - status.entries / 100) < 0.05

    @steady(100)
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3000)), max_size=60))
    def test_whatever_comes(self, asked: list[tuple[int, int]]):
        few = cache(entries=3, most_bytes=6000)
        for key, size in asked:
            few.get_or_make(key, lambda size=size: np.zeros(size, np.uint8))
            status = few.status()
            assert status.entries <= 3 and status.bytes <= 6000
        assert few.status().misses - few.status().entries >= few.status().evictions


class TestOnce:
    def test_a_result_is_made_once(self):
        kept, made = cache(), []
        for _ in range(3):
            assert kept.get_or_make("key", lambda: made.append(1) or "value") == "value"
        assert made == [1]
        assert (kept.status().hits, kept.status().misses) == (2, 1)

    def test_none_is_a_result(self):
        kept, made = cache(), []
        for _ in range(2):
            assert kept.get_or_make("key", lambda: made.append(1)) is None
        assert made == [1]

    def test_threads_that_ask_at_once_get_one_result(self):
        kept, made, started = cache(), [], threading.Event()

        def slow() -> object:
            made.append(object())
            started.set()
            wait_until_others_wait(kept, 1)
            return made[-1]

        with ThreadPoolExecutor(9) as threads:
            first = threads.submit(kept.get_or_make, "key", slow)
            assert started.wait(10)
            others = [threads.submit(kept.get_or_make, "key", slow) for _ in range(8)]
            results = [job.result(10) for job in (first, *others)]
        assert len(made) == 1 and all(result is made[0] for result in results)
        assert (kept.status().hits, kept.status().misses) == (8, 1)

    def test_other_keys_do_not_wait(self):
        kept, both = cache(), threading.Barrier(2, timeout=10)
        with ThreadPoolExecutor(2) as threads:
            jobs = [threads.submit(kept.get_or_make, key, both.wait) for key in "ab"]
            assert sorted(job.result() for job in jobs) == [0, 1]


class Interrupted(BaseException):
    """As ComfyUI's own, in new versions."""


def wait_until_others_wait(kept: Cache, count: int) -> None:
    """Until so many threads wait for a result that this thread is working out."""
    (flight,) = kept._flights.values()
    give_up = threading.Event()
    for _ in range(1000):
        if len(flight.ended._cond._waiters) >= count:  # type: ignore[attr-defined]
            return
        give_up.wait(0.005)
    raise AssertionError("nobody waits")


class TestFailure:
    def test_what_could_not_be_made_is_not_kept(self):
        kept = cache()
        with pytest.raises(ValueError, match="invalid literal"):
            kept.get_or_make("key", lambda: int("x"))
        assert kept.get_or_make("key", lambda: 5) == 5
        assert kept.status().entries == 1

    @pytest.mark.parametrize("error", [ValueError("mine"), Interrupted()])
    def test_the_failure_of_one_is_not_that_of_those_who_wait(self, error: BaseException):
        kept, made, started = cache(), [], threading.Event()

        def fail() -> None:
            started.set()
            wait_until_others_wait(kept, 3)
            raise error

        def work() -> str:
            made.append("once")
            return "value"

        with ThreadPoolExecutor(4) as threads:
            failing = threads.submit(kept.get_or_make, "key", fail)
            assert started.wait(10)
            waiting = [threads.submit(kept.get_or_make, "key", work) for _ in range(3)]
            assert failing.exception(10) is error
            assert [job.result(10) for job in waiting] == ["value"] * 3
        assert made == ["once"], "and one of them works it out for all"

    def test_each_gets_its_own_error(self):
        kept, both = cache(), threading.Barrier(2, timeout=10)

        def ask(number: int) -> None:
            both.wait()
            kept.get_or_make("key", lambda: [][number])

        with ThreadPoolExecutor(2) as threads:
            errors = [job.exception(10) for job in [threads.submit(ask, n) for n in (0, 1)]]
        assert all(isinstance(error, IndexError) for error in errors)
        assert errors[0] is not errors[1]
        assert not kept._flights


class TestClear:
    def test_all_is_forgotten_but_the_counts(self):
        kept, made = cache(entries=1), []
        for key in "ab":
            kept.get_or_make(key, lambda: made.append(1))
        kept.clear()
        status = kept.status()
        assert (status.entries, status.bytes) == (0, 0)
        assert (status.misses, status.evictions) == (2, 1)
        kept.get_or_make("b", lambda: made.append(1))
        assert len(made) == 3

    def test_what_is_worked_out_meanwhile_is_not_kept(self):
        kept = cache()
        assert kept.get_or_make("key", lambda: kept.clear() or "old") == "old"
        assert kept.get_or_make("key", lambda: "new") == "new"
        assert kept.get_or_make("key", lambda: "newer") == "new"


class TestLeaving:
    def test_whoever_is_kept_no_longer_is_told_of_once(self):
        gone: list[str] = []
        now = [0.0]
        kept = cache(entries=2, seconds=10, timer=lambda: now[0], on_leave=gone.append)
        for key in "abc":
            kept.get_or_make(key, lambda key=key: key)
        assert gone == ["a"] and "a" not in kept and "b" in kept
        now[0] = 11
        kept.status()
        assert gone == ["a", "b", "c"]
        kept.get_or_make("d", lambda: "d")
        kept.clear()
        kept.clear()
        assert gone == ["a", "b", "c", "d"]

    def test_what_is_told_may_use_the_cache(self):
        told: list[int] = []
        kept = cache(entries=1, on_leave=lambda value: told.append(kept.status().entries))
        for key in (1, 2, 3):
            kept.get_or_make(key, lambda key=key: key)
        assert told == [1, 1]

    def test_idle_is_since_the_last_question(self):
        now = [0.0]
        kept = cache(timer=lambda: now[0])
        kept.get_or_make("key", lambda: 1)
        now[0] = 5
        assert kept.idle_seconds == 5
        kept.get_or_make("key", lambda: 1)
        assert kept.idle_seconds == 0
