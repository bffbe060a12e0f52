"""What COMFYUI_PATH and COMFYUI_PYTHON may be."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.comfyui.installations import installations


@pytest.fixture
def checkouts(tmp_path: Path) -> list[Path]:
    folders = [tmp_path / name for name in ("new", "old")]
    for folder in folders:
        folder.mkdir()
        (folder / "main.py").touch()
    (folders[0] / "comfyui_version.py").write_text('# generated\n__version__ = "0.33.0"\n')
    return folders


def joined(*paths: object) -> str:
    return os.pathsep.join(map(str, paths))


@pytest.mark.parametrize(
    "environment", [{}, {"COMFYUI_PATH": "", "COMFYUI_PYTHON": joined("a", "b")}]
)
def test_none(environment: dict[str, str]):
    assert installations(environment) == []


def test_each_has_a_name_and_the_interpreter_of_the_tests(checkouts: list[Path]):
    found = installations({"COMFYUI_PATH": joined(*checkouts)})
    assert [str(each) for each in found] == ["0.33.0", "old"]
    assert [each.checkout for each in found] == checkouts
    assert {each.python for each in found} == {sys.executable}


@pytest.mark.parametrize("pythons", [["one"], ["one", "two"]])
def test_one_interpreter_or_one_for_each(checkouts: list[Path], pythons: list[str]):
    environment = {"COMFYUI_PATH": joined(*checkouts), "COMFYUI_PYTHON": joined(*pythons)}
    assert [each.python for each in installations(environment)] == [pythons[0], pythons[-1]]


def test_too_many_interpreters(checkouts: list[Path]):
    environment = {"COMFYUI_PATH": joined(*checkouts), "COMFYUI_PYTHON": joined("a", "b", "c")}
    with pytest.raises(ValueError, match="names 3 interpreters for the 2 checkouts"):
        installations(environment)


def test_no_checkout_there(tmp_path: Path):
    with pytest.raises(ValueError, match=r"where there is no main\.py"):
        installations({"COMFYUI_PATH": str(tmp_path)})
