"""The command `bench`: what it makes of its options; what is measured then is tested elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastface.backends.registry import all_backends
from fastface.benchmark.plan import Options
from fastface.installer.pack_commands import bench
from fastface.utils.errors import FastFaceError
from fastface.utils.pictures import write_picture


class Asked(FastFaceError):
    """Ends the command where it would begin to measure."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Any, ...]]:
    """Options, photos and weights of what would be measured; a photo `photo.png` is there."""
    calls = []

    def run_benchmark(
        options: Options, photos: list[np.ndarray], weights: Any, **_more: Any
    ) -> None:
        calls.append((options, photos, weights))
        raise Asked("measured")

    monkeypatch.setattr(bench, "run_benchmark", run_benchmark)
    monkeypatch.chdir(tmp_path)
    write_picture(Path("photo.png"), np.full((5, 7, 3), 90, np.uint8))
    return calls


def test_a_photo_behind_an_option_of_many_values_is_a_photo(asked: list[tuple[Any, ...]]):
    bench.main(["--pack", "random:buffalo_s", "--device", "cpu", "photo.png"])
    ((options, photos, _),) = asked
    assert options.devices == ("cpu",)
    assert [photo.shape for photo in photos] == [(5, 7, 3)]


def test_several_values_are_separated_by_commas(asked: list[tuple[Any, ...]]):
    words = ["--job", "detect,get", "--precision", "fp32, fp16", "--batch", "1,8"]
    words += ["--size", "640x480,1920x1080", "--contestant", "torch,insightface"]
    bench.main(["--pack", "random:buffalo_s", *words, "photo.png"])
    ((options, _, _),) = asked
    assert options.jobs == ("detect", "get") and options.precisions == ("fp32", "fp16")
    assert options.batches == (1, 8) and options.image_sizes_hw == ((480, 640), (1080, 1920))
    assert options.contestants == ("torch", "insightface")


@pytest.mark.parametrize(
    ("words", "named"), [(["--batch", "1,x"], "'1,x'"), (["--size", "1x2,3"], "'3'")]
)
def test_a_wrong_value_is_refused(
    words: list[str], named: str, asked: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        bench.main([*words, "photo.png"])
    assert named in capsys.readouterr().err and not asked


def test_a_photo_that_is_not_there_is_an_error(
    asked: list[tuple[Any, ...]], caplog: pytest.LogCaptureFixture
):
    assert bench.main(["--device", "cpu", "cuda"]) == 1
    assert "cuda can't be read as a picture" in caplog.text and not asked


@pytest.mark.parametrize("content", [b"", b"3", b'{"schema": 1}', b"\xff"])
def test_what_is_no_result_is_not_combined(
    content: bytes, asked: list[tuple[Any, ...]], caplog: pytest.LogCaptureFixture
):
    Path("a.json").write_bytes(content)
    assert bench.main(["--combine", "a.json", "--", "photo.png"]) == 1
    assert "a.json can't be read as a result" in caplog.text


def test_the_schema_of_results_is_printed(
    asked: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
):
    assert bench.main(["--schema"]) == 0 and not asked
    schema = json.loads(capsys.readouterr().out)
    assert {"cases", "machine", "weights"} <= set(schema["required"])


def test_a_pack_that_comes_with_a_backend_can_be_measured(asked: list[tuple[Any, ...]]):
    if all_backends()["facenet"].why_unavailable():
        pytest.skip("facenet-pytorch is not installed")
    bench.main(["--pack", "facenet-mtcnn", "photo.png"])
    ((_, _, weights),) = asked
    assert weights.pack.name == "facenet-mtcnn" and not weights.random
