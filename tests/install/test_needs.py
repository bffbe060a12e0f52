"""Which packages are asked for, on which machine."""

from __future__ import annotations

from functools import partial

import pytest

from installer.machine import Installed, Machine
from installer.needs import (
    ENGINE_NEEDS,
    HOST_NEEDS,
    Need,
    choose_onnxruntime,
    is_there,
    onnxruntime_need,
    own_needs,
    release,
    what_answers,
)

GPU = partial(Machine, nvidia=True)


@pytest.mark.parametrize(
    ("machine", "requirement"),
    [
        (Machine(), "onnxruntime"),
        (Machine(torch_cuda="13.2"), "onnxruntime"),  # a CUDA build without a GPU is common
        (Machine(torch_other="hip"), "onnxruntime"),
        (GPU(), "onnxruntime-gpu"),
        (GPU(torch_cuda="11.8"), "onnxruntime"),
        (GPU(torch_cuda="12.6"), "onnxruntime-gpu<1.27"),
        (GPU(torch_cuda="12.8", python=(3, 10)), "onnxruntime-gpu<1.27"),
        (GPU(torch_cuda="13.0"), "onnxruntime-gpu>=1.27"),
        (GPU(torch_cuda="13.0", python=(3, 10)), "onnxruntime"),
        (GPU(torch_cuda="13.0", architecture="aarch64"), "onnxruntime-gpu>=1.27"),
        (Machine("Windows", "AMD64"), "onnxruntime-directml"),
        (GPU("Windows", "AMD64", torch_cuda="13.0"), "onnxruntime-gpu>=1.27"),
        (Machine("Windows", "ARM64"), "onnxruntime"),
        (Machine("Darwin", "arm64"), "onnxruntime"),
        (Machine("Darwin", "x86_64"), "onnxruntime"),
    ],
)
def test_onnxruntime_fits_the_machine(machine: Machine, requirement: str) -> None:
    chosen, reason = choose_onnxruntime(machine)
    assert chosen == requirement
    assert reason


def test_an_onnxruntime_that_is_there_is_never_chosen_anew() -> None:
    there = Installed(frozenset({"onnxruntime"}), {"onnxruntime-gpu": "1.20"}, ("onnxruntime-gpu",))
    need = onnxruntime_need(GPU(torch_cuda="13.0"))
    assert is_there(need, there)
    assert what_answers(need, there) == "onnxruntime-gpu 1.20"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# only a comment\n\n", []),
        ("xxhash>=3", [("xxhash", "xxhash>=3", (3,))]),
        ("pydantic-settings>=2.7", [("pydantic_settings", "pydantic-settings>=2.7", (2, 7))]),
        (
            "cachetools >= 5.1  # why\nxxhash",
            [("cachetools", "cachetools >= 5.1", (5, 1)), ("xxhash", "xxhash", ())],
        ),
    ],
)
def test_requirements_are_read(text: str, expected: list[tuple[str, str, tuple[int, ...]]]) -> None:
    needs = own_needs(text)
    assert [(need.module, need.requirement, need.minimum) for need in needs] == expected
    assert all(need.required for need in needs)


@pytest.mark.parametrize("line", ["torch==2.0", "-r other.txt", "xxhash<4", "a b"])
def test_a_requirement_of_another_kind_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"name>=1\.2"):
        own_needs(line)


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("", ()),
        ("unknown", ()),
        ("5", (5,)),
        ("2.15.0+cu132", (2, 15, 0)),
        ("2.9.0a0+50eac8", (2, 9, 0)),
    ],
)
def test_release_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert release(version) == numbers


CACHETOOLS = Need("cachetools", "cachetools>=5", "everything", minimum=(5,))


@pytest.mark.parametrize(
    ("modules", "versions", "expected"),
    [
        (set(), {}, False),
        (set(), {"cachetools": "8.0"}, False),  # metadata alone is a broken installation
        ({"cachetools"}, {"cachetools": "4.2.4"}, False),
        ({"cachetools"}, {"cachetools": "5.0"}, True),
        ({"cachetools"}, {"cachetools": "10.0"}, True),
        ({"cachetools"}, {}, True),
    ],
)
def test_a_need_is_answered(modules: set[str], versions: dict[str, str], expected: bool) -> None:
    assert is_there(CACHETOOLS, Installed(frozenset(modules), versions)) is expected


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ({}, "opencv-python-headless"),
        ({"opencv-python-headless": "5.0"}, "opencv-python-headless 5.0"),
        ({"opencv-contrib-python": "4.1", "torch": "2"}, "opencv-contrib-python 4.1"),
        (
            {"opencv-python-headless": "5.0", "opencv-python": "4.9"},
            "opencv-python-headless 5.0, opencv-python 4.9",
        ),
    ],
)
def test_what_answers_names_every_variant(versions: dict[str, str], expected: str) -> None:
    cv2 = next(need for need in ENGINE_NEEDS if need.module == "cv2")
    assert what_answers(cv2, Installed(frozenset({"cv2"}), versions)) == expected


def test_what_comfyui_brings_is_never_ours_to_install() -> None:
    ours = {need.distribution for need in ENGINE_NEEDS}
    assert ours.isdisjoint(need.distribution for need in HOST_NEEDS)
    assert ours.isdisjoint({"torchaudio", "opencv-python", "onnxruntime-gpu"})


def test_packages_with_harmful_pins_name_what_they_need_instead() -> None:
    beside = {need.distribution: need.beside for need in ENGINE_NEEDS}
    assert "torchvision" in beside["facenet-pytorch"]
    assert {"onnxruntime", "cv2"} <= set(beside["insightface"])
