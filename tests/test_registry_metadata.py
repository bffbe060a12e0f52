"""What ComfyUI's registry requires of the project's metadata, and what its archive leaves out."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import fastface

ROOT = Path(inspect.getfile(fastface)).parent


@pytest.fixture(scope="module")
def project() -> dict:
    tomllib = pytest.importorskip("tomllib")  # part of Python from 3.11 on
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_registry_has_what_it_asks_for(project: dict):
    urls = project["project"]["urls"]
    assert {"Repository", "Documentation", "Bug Tracker"} <= set(urls)
    assert all(url.startswith("https://") for url in urls.values())
    assert {"PublisherId", "DisplayName", "requires-comfyui"} <= set(project["tool"]["comfy"])


def test_requirements_are_the_same_in_both_files(project: dict):
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert sorted(lines) == sorted(project["project"]["dependencies"])


def test_nothing_that_runs_is_left_out_of_the_archive():
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    left_out = {line.strip("/") for line in lines if line and not line.startswith("#")}
    assert {"tests", "benchmarks"} <= left_out
    folders = {"nodes", "pipeline", "models", "backends", "benchmark", "utils", "web", "installer"}
    needed = {"__init__.py", "install.py", *folders}
    assert not left_out & needed
