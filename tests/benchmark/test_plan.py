"""What is planned: rows for everyone, reasons for those who can't, and no nonsense."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from fastface.benchmark.benchmark_inputs import batch_of, fitted
from fastface.benchmark.implementation import Implementation
from fastface.benchmark.implementations import all_implementations
from fastface.benchmark.plan import Case, Options, cases, entries
from fastface.benchmark.presets import PRESETS, preset
from fastface.benchmark.synthetic_models.detectors import SCRFD_500M, scrfd
from fastface.benchmark.weights import choose_weights
from fastface.utils.errors import InvalidInput

from .conftest import ODD


class One(Implementation):
    name = "one"

    def why_unavailable(self) -> str | None:
        return None

    def devices(self) -> tuple[str, ...]:
        return ("cuda", "cpu")

    def precisions(self, device: str) -> tuple[str, ...]:
        return ("fp32", "fp16") if device.startswith("cuda") else ("fp32",)

    def why_unsupported(self, job: str, pack: Any) -> str | None:
        return "not this job" if job == "instantid" else None

    def open(self, setting: Any) -> Any:
        raise AssertionError("nobody is opened while planning")


def labels(job: str = "detect", **changes: Any) -> list[str]:
    options = Options(**changes)
    rows = entries(Case(job, None, 1), options, {"one": One()}, None)  # type: ignore[arg-type]
    return [f"{row.label}: {row.reason}" if row.reason else row.label for row in rows]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["one cuda fp32"]),
        ({"devices": ("auto", "cuda")}, ["one cuda fp32"]),
        (
            {"devices": ("cuda:1", "cpu"), "precisions": ("fp32", "fp16")},
            ["one cuda:1 fp32", "one cuda:1 fp16", "one cpu fp32"],
        ),
        ({"devices": ("mps",)}, ["one mps: has no device mps here, only cuda, cpu"]),
        (
            {"devices": ("cpu",), "precisions": ("fp16",)},
            ["one cpu fp16: offers fp32, not fp16"],
        ),
        ({"job": "instantid"}, ["one: not this job"]),
    ],
)
def test_rows(changes: dict[str, Any], expected: list[str]):
    assert labels(**changes) == expected


def test_jobs_that_take_one_image_are_measured_once():
    options = Options(jobs=("detect", "get"), batches=(1, 8), image_sizes_hw=(None, (640, 640)))
    planned = [(case.job, case.size_hw, case.batch) for case in cases(options)]
    assert planned.count(("detect", None, 8)) == 1 and len(planned) == 4 + 2
    assert ("get", (640, 640), 8) not in planned


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"jobs": ("dance",)}, "got job 'dance', expected one of detect"),
        ({"contestants": ("two",)}, "got contestant 'two', expected one of one"),
        ({"precisions": ("fp8",)}, "got precision 'fp8'"),
        ({"source": "air"}, "got source 'air'"),
        ({"rounds": 0}, "got rounds 0"),
        ({"batches": (1, 0)}, "got batch 0"),
        ({"image_sizes_hw": ((0, 5),)}, "got image side 0"),
        ({"det_size": 650}, "multiple of 32"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], words: str):
    with pytest.raises(InvalidInput, match=words):
        Options(**changes).check({"one": One()})


def test_everyone_is_found_and_files_of_the_users_too(tmp_path: Path):
    names = set(all_implementations())
    assert {"onnxruntime", "torch", "facenet"} <= names
    assert {"insightface", "facenet-pytorch", "uniface", "dlib"} <= names
    assert {"slow", "shifted"} <= set(all_implementations([ODD])) - names
    with pytest.raises(InvalidInput, match="is there"):
        all_implementations([tmp_path / "nobody.py"])
    empty = tmp_path / "empty.py"
    empty.write_text("", encoding="utf-8")
    with pytest.raises(InvalidInput, match="holds no subclass"):
        all_implementations([empty])


def test_who_is_missing_says_what_mends_it():
    for contestant in all_implementations().values():
        reason = contestant.why_unavailable()
        assert reason is None or "install" in reason, contestant.name


def test_an_installed_pack_comes_before_a_folder_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    onnx = pytest.importorskip("onnx")
    installed = tmp_path / "installed" / "models"
    for folder in (installed, tmp_path / "here" / "models"):
        folder.mkdir(parents=True)
    onnx.save(scrfd(SCRFD_500M), installed / "det.onnx")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("FASTFACE_MODELS", str(installed))
    assert choose_weights("models").pack.folder == installed


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_held(name: str):
    for run in preset(name, "auto", None):
        run.options.check(all_implementations())


def test_the_gpu_preset_is_what_is_promised():
    runs = [run.options for run in preset("gpu", "auto", None)]
    measured = {
        (batch, size)
        for options in runs
        if options.jobs == ("embed",) and options.source != "gpu"
        for batch in options.batches
        for size in options.image_sizes_hw
    }
    assert measured == set(itertools.product((1, 8, 32), ((640, 640), (1080, 1920))))
    for options in runs:
        assert options.devices == ("cuda",) and options.precisions == ("fp32", "mixed", "fp16")
        assert "insightface" in options.contestants and "facenet" not in options.contestants
    # The first to be written down is what the target is about.
    assert runs[0].batches == (32,) and runs[0].source == "gpu"


def test_batches_repeat_photos_in_turn_and_keep_their_shape():
    import numpy as np

    wide = np.full((10, 40, 3), 200, np.uint8)
    tall = np.full((40, 10, 3), 100, np.uint8)
    batch = batch_of([wide, tall], (40, 40), 3)
    assert batch.shape == (3, 40, 40, 3)
    assert (batch[0] == batch[2]).all() and (batch[0] != batch[1]).any()
    # Scaled to fit, in the middle, black around.
    assert (batch[0][15:25] == 200).all() and (batch[0][:15] == 0).all()
    assert (fitted(tall, (80, 80))[:, 30:50] == 100).all()
    assert (batch_of([wide], None, 2) == wide).all()
