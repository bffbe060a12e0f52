"""Counts and times: exact in number from any thread, quantiles against numpy's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastface.utils import metrics as metrics_module
from fastface.utils.metrics import QUANTILES, REMEMBERED, Clock, Metrics, Timing, listening, stage
from tests.utils.properties import steady


class TestClock:
    def test_nothing_yet(self):
        latency = Clock().latency()
        assert (latency.count, latency.seconds, latency.mean, latency.quantiles) == (0, 0, 0, {})

    @steady(100)
    @given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
    def test_quantiles_are_numpys_nearest_rank(self, seconds: list[float]):
        clock = Clock()
        for each in seconds:
            clock.note(each)
        latency = clock.latency()
        assert latency.count == len(seconds)
        assert latency.mean == pytest.approx(sum(seconds) / len(seconds))
        for quantile in QUANTILES:
            expected = np.quantile(seconds, quantile, method="inverted_cdf")
            assert latency.quantiles[quantile] == expected

    def test_counts_all_and_remembers_the_last(self):
        clock = Clock()
        for seconds in [100.0] * 10 + [1.0] * REMEMBERED:
            clock.note(seconds)
        latency = clock.latency()
        assert latency.count == REMEMBERED + 10 and latency.seconds == REMEMBERED + 1000
        assert set(latency.quantiles.values()) == {1.0}

    def test_work_that_fails_took_time_too(self):
        clock = Clock()
        with pytest.raises(ZeroDivisionError), Timing(clock):
            1 / 0  # noqa: B018
        assert clock.latency().count == 1 and clock.latency().seconds > 0


class TestMetrics:
    def test_no_count_is_lost_between_threads(self):
        metrics = Metrics()

        def work(number: int) -> None:
            with metrics.call("get") as call:
                call.images, call.faces = 1, number % 3
                with metrics.stage("detector"):
                    pass

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(3000)))
        assert metrics.calls()["get"].count == metrics.stages()["detector"].count == 3000
        assert metrics.count("images") == metrics.count("faces") == 3000
        assert metrics.count("failed") == 0

    def test_a_call_that_raises_counts_as_failed(self):
        metrics = Metrics()
        with pytest.raises(KeyError), metrics.call("get"):
            raise KeyError
        assert metrics.count("failed") == 1 and metrics.calls()["get"].count == 1


class TestStages:
    @pytest.fixture(autouse=True)
    def metrics(self, monkeypatch: pytest.MonkeyPatch) -> Metrics:
        metrics = Metrics()
        monkeypatch.setattr(metrics_module, "METRICS", metrics)
        return metrics

    def test_every_stage_is_timed_with_what_lies_inside(self, metrics: Metrics):
        with stage("outer"), stage("inner"):
            pass
        outer, inner = metrics.stages()["outer"], metrics.stages()["inner"]
        assert outer.count == inner.count == 1 and outer.seconds > inner.seconds > 0

    def test_who_listens_hears_the_same(self, metrics: Metrics):
        heard: list[str] = []
        with (
            listening(lambda name: nullcontext(heard.append(name))),
            stage("outer"),
            stage("inner"),
        ):
            pass
        with stage("after"):
            pass
        assert heard == ["outer", "inner"]
        assert set(metrics.stages()) == {"outer", "inner", "after"}
