"""What ComfyUI's registry requires of the project's metadata, and what its archive leaves out."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import fastface
from installer.needs import TEST_NEEDS

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


def test_the_tools_of_the_tests_are_those_that_the_installer_adds(project: dict):
    group = project["dependency-groups"]["test"]
    assert sorted(group) == sorted(need.requirement for need in TEST_NEEDS)


def test_the_changelog_begins_with_the_version(project: dict):
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    newest = next(line for line in lines if line.startswith("## "))
    assert newest.split()[1] == project["project"]["version"]


def test_nothing_that_runs_is_left_out_of_the_archive():
    lines = (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    left_out = {line.strip("/") for line in lines if line and not line.startswith("#")}
    assert {"tests", "benchmarks", "tools"} <= left_out
    folders = {"nodes", "pipeline", "models", "backends", "benchmark", "utils", "web", "installer"}
    needed = {"__init__.py", "install.py", *folders}
    assert not left_out & needed
