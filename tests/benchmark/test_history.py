"""A slower run is flagged, a slower machine is not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastface.benchmark.history import compare_runs, last_like, remember
from fastface.benchmark.plan import Options
from fastface.benchmark.runner import run_benchmark
from fastface.benchmark.weights import Weights

from .conftest import ODD


def run_slow(
    photo: np.ndarray, weights: Weights, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    monkeypatch.setenv("SECONDS_OF_SLOW", str(seconds))
    options = Options(
        jobs=("detect",), contestants=("slow",), rounds=5, det_size=320, contestant_files=(ODD,)
    )
    return run_benchmark(options, [photo], weights)


def test_a_slower_backend_is_flagged(
    photo: np.ndarray, random_weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "folder" / "history.jsonl"
    first = run_slow(photo, random_weights, 0.1, monkeypatch)
    remember(first, file)
    assert first["comparison"] is None
    later = run_slow(photo, random_weights, 0.3, monkeypatch)
    remember(later, file)
    (regression,) = later["comparison"]["regressions"]
    assert "slow cpu fp32" in regression
    (change,) = later["comparison"]["changes"]
    assert change["verdict"] == "slower" and change["change"] == pytest.approx(2, abs=0.5)
    assert len(file.read_text(encoding="utf-8").splitlines()) == 2


def changed(result: dict[str, Any], factor: float, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """The same result with the times of some, or all, multiplied."""
    later = copy.deepcopy(result)
    for case in later["cases"]:
        for row in case["rows"]:
            if row["seconds"] and (not names or row["contestant"] in names):
                for name in ("median", "q25", "q75", "p95"):
                    row["seconds"][name] *= factor
                if row["times_as_fast"] and names:
                    for name in ("median", "q25", "q75"):
                        row["times_as_fast"][name] /= factor
    return later


@pytest.fixture
def quiet(odd_result: dict[str, Any]) -> dict[str, Any]:
    """The contest as it would be without noise: quartiles 1 % around the medians."""
    result = copy.deepcopy(odd_result)
    for case in result["cases"]:
        for row in case["rows"]:
            for figures in (row["seconds"], row["times_as_fast"]):
                if figures:
                    figures["q25"], figures["q75"] = (
                        figures["median"] * share for share in (0.99, 1.01)
                    )
    return result


def test_the_same_is_no_regression(quiet: dict[str, Any]):
    comparison = compare_runs(quiet, quiet)
    assert comparison["regressions"] == []
    assert {change["verdict"] for change in comparison["changes"]} == {"same"}


def test_one_that_is_slower_is_named_and_no_other(quiet: dict[str, Any]):
    comparison = compare_runs(quiet, changed(quiet, 1.2, ("onnxruntime",)))
    (regression,) = comparison["regressions"]
    assert "onnxruntime" in regression
    faster = compare_runs(quiet, changed(quiet, 0.8, ("onnxruntime",)))
    assert faster["regressions"] == []
    assert [c["verdict"] for c in faster["changes"] if "onnxruntime" in c["label"]] == ["faster"]


def test_a_machine_that_is_slower_for_all_is_no_regression_of_those_with_a_ratio(
    quiet: dict[str, Any],
):
    rows = quiet["cases"][0]["rows"]
    if not any(row["times_as_fast"] for row in rows):
        pytest.skip("insightface is not installed")
    comparison = compare_runs(quiet, changed(quiet, 1.5))
    verdicts = {change["label"]: change["verdict"] for change in comparison["changes"]}
    assert verdicts["onnxruntime cpu fp32"] == "same"
    assert verdicts["insightface cpu fp32"] == "slower"


def test_what_noise_can_explain_is_the_same(quiet: dict[str, Any]):
    noisy = copy.deepcopy(quiet)
    for row in noisy["cases"][0]["rows"]:
        for figures in (row["seconds"], row["times_as_fast"]):
            if figures:
                figures["q25"], figures["q75"] = figures["median"] * 0.7, figures["median"] * 1.4
    assert compare_runs(noisy, changed(noisy, 1.2, ("onnxruntime",)))["regressions"] == []


def test_few_rounds_flag_nothing(quiet: dict[str, Any]):
    quiet["settings"]["rounds"] = 3
    comparison = compare_runs(quiet, changed(quiet, 3, ("onnxruntime",)))
    assert comparison["regressions"] == []
    assert {change["verdict"] for change in comparison["changes"]} == {"too few rounds"}


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("machine", "cpu", "another"),
        ("machine", "gpus", ["a card"]),
        ("weights", "name", "others"),
        ("settings", "det_size", 64),
        ("settings", "source", "gpu"),
    ],
)
def test_runs_of_another_kind_are_not_compared(
    odd_result: dict[str, Any], tmp_path: Path, part: str, name: str, value: Any
):
    file = tmp_path / "history.jsonl"
    result = copy.deepcopy(odd_result)
    remember(result, file)
    assert last_like(result, file) is not None
    result[part][name] = value
    assert last_like(result, file) is None


def test_a_damaged_line_is_passed_over_and_a_folder_that_is_none_costs_nothing(
    odd_result: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    file = tmp_path / "history.jsonl"
    remember(copy.deepcopy(odd_result), file)
    whole = file.read_bytes()
    hollow = {**copy.deepcopy(odd_result), "cases": [{"rows": [{"state": "measured"}]}]}
    damaged = [
        b'{"schema": 1, "cut o',
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b"null",
        b"3",
        b"{}",
        b'{"schema": %d, "machine": 3}' % odd_result["schema"],
        json.dumps(hollow).encode(),
        json.dumps({**odd_result, "machine": None}).encode(),
    ]
    for line in damaged:
        file.write_bytes(whole + line + b"\n")
        caplog.clear()
        assert last_like(odd_result, file) is not None
        assert f"line 2 of {file} is damaged and left out" in caplog.text
    file.write_bytes(whole + b"\n".join(damaged))
    later = copy.deepcopy(odd_result)
    remember(later, file)
    assert later["comparison"] is not None
    # The line that was cut off ends here, and the new one begins on its own.
    del later["comparison"]
    assert json.loads(file.read_bytes().splitlines()[-1]) == later
    file.write_bytes(b"")
    assert last_like(odd_result, file) is None
    remember(copy.deepcopy(odd_result), file / "below")
    assert "not remembered" in caplog.text
