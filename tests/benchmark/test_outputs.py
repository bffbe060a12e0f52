"""Text, Markdown, chart and targets, made of a real contest."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from fastface.benchmark.axis import axis_for
from fastface.benchmark.chart import draw_chart
from fastface.benchmark.result_text import as_markdown, as_text
from fastface.benchmark.targets import TARGETS, targets_table


@pytest.mark.parametrize("show", [as_text, as_markdown])
def test_tables_say_everything_that_matters(odd_result: dict[str, Any], show: Any):
    text = show(odd_result)
    for words in (
        "RANDOM WEIGHTS",
        "onnxruntime cpu fp32",
        "UNFIT",
        "boxes off by 3.0",
        "missing: missing: not here",
        "failing cpu fp32: failed: ValueError: broken on purpose",
        "images/s",
        "ran on detection: CPUExecutionProvider on cpu",
        "command: a test",
        "slow cpu fp32 has weights of its own",
    ):
        assert words in text, words


def test_noise_is_said_first(odd_result: dict[str, Any]):
    result = copy.deepcopy(odd_result)
    result["noise"] = []
    assert "the machine was quiet" in as_text(result)
    result["noise"] = ["other programs took 60% of the processors"]
    assert "THE MACHINE WAS NOISY: other programs took 60%" in as_text(result)


def test_markdown_tables_are_whole(odd_result: dict[str, Any]):
    rows = [line for line in as_markdown(odd_result).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1
    measured = [row for row in odd_result["cases"][0]["rows"] if row["state"] == "measured"]
    assert len(rows) == 2 + len(measured)


def test_a_gpus_columns_appear_where_there_is_one(odd_result: dict[str, Any]):
    assert "VRAM" not in as_text(odd_result)
    result = copy.deepcopy(odd_result)
    row = next(row for row in result["cases"][0]["rows"] if row["state"] == "measured")
    row["device_seconds"], row["to_host"] = 0.001, {"total": 800, "largest": 800, "copies": 1}
    row["memory"]["vram_bytes"] = 123_000_000
    text = as_text(result)
    assert "VRAM MB" in text and "123" in text and "to host, bytes an image" in text


def test_the_chart_is_as_wide_as_a_phone_and_grows_with_its_rows(odd_result: dict[str, Any]):
    chart = draw_chart(odd_result)
    assert chart.dtype == np.uint8 and chart.shape[1:] == (1080, 3)
    longer = copy.deepcopy(odd_result)
    longer["cases"] *= 2
    assert draw_chart(longer).shape[0] > 1.7 * chart.shape[0]
    nobody = copy.deepcopy(odd_result)
    nobody["cases"][0]["rows"] = []
    assert draw_chart(nobody).shape[1] == 1080


def coloured(chart: np.ndarray, colour: str) -> int:
    """How many pixels of a chart are of a colour."""
    rgb = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return int((chart == np.array(rgb, np.uint8)).all(-1).sum())


def with_medians(result: dict[str, Any], *medians: float) -> dict[str, Any]:
    """The result with so many rows of ours, without quartiles that differ."""
    result = copy.deepcopy(result)
    (case,) = result["cases"]
    row = next(row for row in case["rows"] if row["contestant"] == "onnxruntime")
    case["rows"] = [
        {
            **row,
            "seconds": {**row["seconds"], **dict.fromkeys(("median", "q25", "q75"), median)},
            "parity": None,
            "times_as_fast": None,
        }
        for median in medians
    ]
    return result


def test_bars_are_as_long_as_what_they_stand_for(odd_result: dict[str, Any]):
    one = coloured(draw_chart(with_medians(odd_result, 0.1)), "#2a7f62")
    both = coloured(draw_chart(with_medians(odd_result, 0.1, 0.2)), "#2a7f62")
    assert both / one == pytest.approx(1.5, rel=0.02)


def test_wrong_answers_are_orange(odd_result: dict[str, Any]):
    assert coloured(draw_chart(odd_result), "#c2410c") > 1000


def test_of_a_linear_axis_some_round_values_are_named():
    axis = axis_for([20.0, 27.0], [20.5, 28.0])
    assert not axis.is_log and axis.low == 0
    assert axis.ticks == (0, 10, 20, 30, 40)
    assert axis.place(0.0) == 0 and axis.place(axis.high) == 1
    assert axis.place(20.0) == pytest.approx(20 / (28 * 1.45))
    small = axis_for([0.0031], [0.004])
    assert small.ticks == pytest.approx((0, 0.001, 0.002, 0.003, 0.004, 0.005))


def test_where_one_is_many_times_as_fast_the_axis_is_logarithmic():
    axis = axis_for([11.7, 8149.0], [12.0, 8200.0])
    assert axis.is_log and axis.ticks == (10, 100, 1000, 10000, 100000)
    equal = axis.place(100.0) - axis.place(10.0), axis.place(1000.0) - axis.place(100.0)
    assert equal[0] == pytest.approx(equal[1])
    assert 0 < axis.place(11.7) < axis.place(8200.0) < 0.8


def of_job(result: dict[str, Any], job: str, times: float, pack: str) -> dict[str, Any]:
    """The contest as if it had been this job, with one row of ours."""
    result = copy.deepcopy(result)
    (case,) = result["cases"]
    row = next(row for row in case["rows"] if row["contestant"] == "onnxruntime")
    row |= {
        "against": "insightface cpu fp32",
        "times_as_fast": {"median": times, "q25": times, "q75": times},
        "stages": {"detector": 0.7, "align": 0.1, "rest": 0.2},
    }
    row["parity"] |= {"verdict": "fit", "reasons": []}
    case |= {"job": job, "rows": [row]}
    result["weights"] |= {"name": pack, "label": pack}
    return result


def test_targets_are_reached_missed_with_what_limits_them_or_not_measured(
    odd_result: dict[str, Any],
):
    results = [
        of_job(odd_result, "instantid", 12.8, "antelopev2-random"),
        of_job(odd_result, "get", 0.9, "small"),
        of_job(odd_result, "get", 1.7, "antelopev2-random"),
    ]
    lines = targets_table(results).splitlines()
    by_name = {target.what: [x for x in lines if target.what in x] for target in TARGETS}
    assert all(by_name.values())
    (instantid,) = (x for what, x in by_name.items() if "InstantID" in what)
    assert "12.80x" in instantid[0] and "| reached |" in instantid[0]
    (get,) = (x for what, x in by_name.items() if "get()" in what)
    assert "0.90x" in get[0] and "**missed** | time: detector 70%" in get[0]
    assert "1.70x" in get[1] and "| reached |" in get[1]
    assert all("not measured here" in x[0] for what, x in by_name.items() if "GPU" in what)


def test_an_unfit_row_misses_the_parity_target(odd_result: dict[str, Any]):
    result = of_job(odd_result, "get", 1.0, "small")
    result["cases"][0]["rows"][0]["parity"] |= {"verdict": "unfit", "reasons": ["boxes off"]}
    line = next(x for x in targets_table([result]).splitlines() if "fp32" in x)
    assert "**missed** | boxes off" in line
