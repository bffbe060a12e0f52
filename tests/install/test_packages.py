"""pip is called so that nothing installed moves."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from installer.console import command_line
from installer.environment import python_of
from installer.machine import Installed
from installer.packages import (
    constraint_file,
    constraint_lines,
    front_end,
    install_command,
    pip_works,
)

PIP = (sys.executable, "-m", "pip")


@pytest.mark.parametrize(
    ("versions", "asked_for", "lines"),
    [
        ({}, [], []),
        (
            {"torch": "2.15.0+cu130", "numpy": "1.26.4", "opencv-contrib-python": "4.11.0.86"},
            [],
            ["numpy==1.26.4", "opencv-contrib-python==4.11.0.86", "torch==2.15.0+cu130"],
        ),
        ({"cachetools": "4.2", "protobuf": "4.25.8"}, ["cachetools"], ["protobuf==4.25.8"]),
        # pip would refuse the whole file
        ({"own-build": "unknown version", "scipy": "1.17"}, [], ["scipy==1.17"]),
    ],
)
def test_everything_installed_is_pinned(
    versions: dict[str, str], asked_for: list[str], lines: list[str]
) -> None:
    assert constraint_lines(Installed(frozenset(), versions), asked_for) == lines


@pytest.mark.parametrize(
    ("front", "options", "expected"),
    [
        (
            ("py", "-m", "pip"),
            {},
            "py -m pip install --disable-pip-version-check --only-binary :all: --quiet onnx",
        ),
        (
            ("py", "-m", "pip"),
            {"constraints": "c.txt", "dependencies": False, "quiet": False},
            "py -m pip install --disable-pip-version-check --only-binary :all: --constraint c.txt "
            "--no-deps onnx",
        ),
        (
            ("uv", "pip"),
            {"constraints": "c.txt"},
            "uv pip install --python py --only-binary :all: --quiet --constraint c.txt onnx",
        ),
    ],
)
def test_the_command(front: tuple[str, ...], options: dict[str, object], expected: str) -> None:
    command = install_command(front, ["onnx"], python="py", **options)  # pyright: ignore[reportArgumentType]
    assert command_line(command) == expected


@pytest.mark.parametrize(
    ("pip", "uv", "expected"),
    [
        (False, None, None),
        (False, "/bin/uv", ("/bin/uv", "pip")),
        (True, "/bin/uv", ("py", "-m", "pip")),
    ],
)
def test_uv_stands_in_for_pip(
    pip: bool, uv: str | None, expected: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("installer.packages.pip_works", lambda python: pip)
    monkeypatch.setattr(shutil, "which", lambda name: uv)
    assert front_end("py") == expected


def test_an_interpreter_that_is_not_there_has_no_pip(tmp_path: Path) -> None:
    assert not pip_works(str(tmp_path / "python"))


def make_wheel(folder: Path, name: str, version: str, requires: str = "") -> None:
    """Writes a wheel with one empty module."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", wheel)
        archive.writestr(f"{info}/RECORD", "")


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="there is no pip to try it on")
def test_pip_obeys_the_constraints(tmp_path: Path) -> None:
    """In an environment with `heavy` 1.0, a package that wants `heavy` 2.0 can't have it."""
    wheels, environment = tmp_path / "wheels", tmp_path / "environment"
    wheels.mkdir()
    make_wheel(wheels, "heavy", "1.0")
    make_wheel(wheels, "heavy", "2.0")
    make_wheel(wheels, "greedy", "1.0", requires="heavy>=2")
    make_wheel(wheels, "modest", "1.0", requires="heavy>=1")
    venv.create(environment, with_pip=False)
    offline = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PIP_")},
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONFIG_FILE": os.devnull,
    }

    def pip(*requirements: str, pins: tuple[str, ...] = ()) -> int:
        with constraint_file(pins) as path:
            command = install_command(PIP, requirements, constraints=str(path))
            command[3:3] = ["--python", str(python_of(environment))]
            return subprocess.run(command, env=offline, capture_output=True, check=False).returncode

    def heavy() -> list[str]:
        return [path.name for path in environment.rglob("heavy-*.dist-info")]

    assert pip("heavy==1.0") == 0
    pins = tuple(constraint_lines(Installed(frozenset(), {"heavy": "1.0"}), ["greedy"]))
    assert pip("greedy", pins=pins) != 0
    assert heavy() == ["heavy-1.0.dist-info"]
    assert pip("modest", pins=pins) == 0
    assert heavy() == ["heavy-1.0.dist-info"]
    assert pip("greedy") == 0  # without the pins it is moved: they are what protects it
    assert heavy() == ["heavy-2.0.dist-info"]
