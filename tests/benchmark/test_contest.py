"""A contest in real processes: who is wrong, broken or missing costs a row and nothing else."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import jsonschema
import numpy as np
import psutil
import pytest

from fastface.benchmark.plan import Options
from fastface.benchmark.process import Worker
from fastface.benchmark.result import BenchmarkResult
from fastface.benchmark.runner import run_benchmark
from fastface.benchmark.weights import Weights

Rows = dict[str, dict[str, Any]]


def validate(result: dict[str, Any]) -> None:
    schema = BenchmarkResult.model_json_schema()
    # As others read it: tuples and numpy's numbers would not come through.
    jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(result)))


def test_the_result_is_what_the_schema_says(odd_result: dict[str, Any]):
    validate(odd_result)
    broken = json.loads(json.dumps(odd_result))
    del broken["cases"][0]["rows"][0]["seconds"]
    with pytest.raises(jsonschema.ValidationError):
        validate(broken)


def test_a_wrong_backend_is_caught_by_parity(odd_rows: Rows):
    assert odd_rows["shifted"]["parity"]["verdict"] == "unfit"
    assert odd_rows["shifted"]["parity"]["box_px"] == pytest.approx(3, abs=0.05)
    assert odd_rows["scaled"]["parity"]["verdict"] == "unfit"
    assert odd_rows["scaled"]["parity"]["norm_error"] == pytest.approx(0.1, abs=0.002)
    assert odd_rows["scaled"]["parity"]["cosine"] > 0.999
    assert odd_rows["turned"]["parity"]["verdict"] == "unfit"
    assert odd_rows["turned"]["parity"]["cosine"] < 0.999


def test_a_right_backend_is_fit_against_insightface(odd_rows: Rows):
    if odd_rows["insightface"]["state"] == "missing":
        pytest.skip(odd_rows["insightface"]["reason"])
    assert odd_rows["insightface"]["parity"]["verdict"] == "reference"
    parity = odd_rows["onnxruntime"]["parity"]
    assert parity["reference"].startswith("insightface")
    assert parity["verdict"] == "fit" and parity["matched"] == parity["faces"] == 6


def test_who_breaks_has_a_row_with_the_reason(odd_rows: Rows):
    for name, state, reason in (
        ("failing", "failed", "ValueError: broken on purpose"),
        ("dying", "failed", "ended with status 7: last words"),
        ("dyinglater", "failed", "ended with status 8"),
        ("missing", "missing", "pip install it"),
        ("facenet", "missing", "no recognition model"),
    ):
        assert odd_rows[name]["state"] == state, odd_rows[name]
        assert reason in odd_rows[name]["reason"]
        assert odd_rows[name]["seconds"] is None and odd_rows[name]["parity"] is None


def test_who_prints_disturbs_nobody(odd_rows: Rows):
    assert odd_rows["slow"]["state"] == "measured" and odd_rows["slow"]["faces"] == 0


def test_figures_belong_together(odd_rows: Rows):
    row = odd_rows["onnxruntime"]
    seconds = row["seconds"]
    assert seconds["q25"] <= seconds["median"] <= seconds["q75"] <= seconds["p95"]
    assert row["images_per_s"] == pytest.approx(1 / seconds["median"])
    assert row["faces_per_s"] == pytest.approx(6 / seconds["median"])
    assert row["first_call_s"] > seconds["median"]
    assert row["runs_on"]["detection"].startswith("CPUExecutionProvider on cpu")
    assert set(row["runs_on"]) == {"detection", "recognition"}
    assert row["share_of_floor"] > 0 and odd_rows["slow"]["share_of_floor"] is None
    assert odd_rows["slow"]["seconds"]["median"] >= 0.005
    assert odd_rows["slow"]["own_weights"] == "slow"
    assert odd_rows["slow"]["parity"]["verdict"] == "none"


def test_random_weights_are_called_so(odd_result: dict[str, Any]):
    assert odd_result["weights"]["random"] is True
    assert "RANDOM WEIGHTS" in odd_result["weights"]["label"]


def test_interruption_passes_through_and_leaves_no_process(
    photo: np.ndarray, random_weights: Weights
):
    class Stopped(Exception):
        pass

    before = set(psutil.Process().children(recursive=True))
    begin = time.monotonic()

    def stop() -> None:
        if time.monotonic() - begin > 3:
            raise Stopped

    options = Options(contestants=("onnxruntime", "torch"), devices=("cpu",), rounds=10_000)
    with pytest.raises(Stopped):
        run_benchmark(options, [photo], random_weights, check_interrupted=stop)
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.skipif(os.name == "nt", reason="Windows can't halt a process")
def test_interruption_passes_through_while_a_process_takes_itself_down():
    class Stop(BaseException):
        """As ComfyUI's own exception in new versions."""

    asked = 0

    def check_interrupted() -> None:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise Stop

    worker = Worker(check_interrupted)
    process = psutil.Process(worker._process.pid)
    began = time.monotonic()
    with pytest.raises(Stop), worker:
        process.suspend()  # it would end as soon as nobody asks it any more
    assert time.monotonic() - began < 5
    assert not process.is_running() and worker.cpu_seconds >= 0


@pytest.mark.skipif(os.name == "nt", reason="Windows can't halt a process")
def test_interruption_passes_through_before_a_process_listens(photo: np.ndarray):
    class Stop(BaseException):
        """As ComfyUI's own exception in new versions."""

    def check_interrupted() -> None:
        raise Stop

    with Worker(check_interrupted) as worker:
        process = psutil.Process(worker._process.pid)
        process.suspend()
        with pytest.raises(Stop):
            worker.ask("start", pixels=photo)
        process.kill()
    assert not process.is_running()


def test_progress_rises_to_its_end(photo: np.ndarray, random_weights: Weights):
    seen: list[tuple[int, int]] = []
    options = Options(jobs=("detect",), contestants=("onnxruntime",), rounds=2, det_size=320)
    result = run_benchmark(
        options, [photo], random_weights, on_progress=lambda done, all_: seen.append((done, all_))
    )
    validate(result)
    done = [step for step, _ in seen]
    assert done == sorted(done) and seen[-1][0] == seen[-1][1]
    assert len({total for _, total in seen}) == 1
