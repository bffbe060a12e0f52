"""What is found in an interpreter without importing anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from installer import machine


def add_package(
    folder: Path, name: str, version: str, module: str = "", record: str | None = ""
) -> None:
    """Puts the metadata of an installed package, and perhaps its module, into a folder."""
    metadata = folder / f"{name}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if record is not None:
        (metadata / "RECORD").write_text(record)
    if module:
        (folder / module).mkdir(exist_ok=True)
        (folder / module / "__init__.py").write_text("raise RuntimeError('imported')\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is all of the search path."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def test_nothing_is_installed(site: Path) -> None:
    assert machine.look_for(["fastface_probe_a"]) == machine.Installed()


def test_modules_are_found_and_not_imported(site: Path) -> None:
    add_package(site, "Fast_Face.Probe", "1.5", module="fastface_probe_b")
    (site / "fastface_probe_leftover").mkdir()  # what pip leaves of a removed package
    found = machine.look_for(["fastface_probe_b", "fastface_probe_leftover", "fastface_probe_c"])
    assert found.modules == {"fastface_probe_b"}
    assert found.distributions == {"fast-face-probe": "1.5"}


def test_metadata_without_a_name_is_passed_over(site: Path) -> None:
    broken = site / "broken-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\n")
    add_package(site, "whole", "1.0")
    assert machine.look_for([]).distributions == {"whole": "1.0"}


def test_every_onnxruntime_is_found_and_nothing_else(site: Path) -> None:
    holds = "onnxruntime/__init__.py,sha256=x,1\n"
    add_package(site, "onnxruntime", "1.31", record=holds)
    add_package(site, "onnxruntime_gpu", "1.30", record="LICENSE,,\n" + holds)
    add_package(site, "onnxruntime-conda", "1.0", record=None)
    add_package(site, "onnxruntime-extensions", "1.0", record="onnxruntime_extensions/x.py,,\n")
    found = machine.look_for([])
    assert found.onnxruntimes == ("onnxruntime", "onnxruntime-conda", "onnxruntime-gpu")


@pytest.mark.parametrize(
    ("text", "build"),
    [
        ("", {}),
        ("__version__ = '2.15.0+cpu'\ncuda: Optional[str] = None\n", {"cuda": None}),
        ("cuda = '12.8'\ngit_version = 'abc'\n", {"cuda": "12.8"}),
        (
            "cuda: Optional[str] = None\nhip: Optional[str] = '6.4'\nxpu: Optional[str] = None\n",
            {"cuda": None, "hip": "6.4", "xpu": None},
        ),
        ("cuda = find_out()\n", {}),
    ],
)
def test_the_build_of_torch_is_read(text: str, build: dict[str, str | None]) -> None:
    assert machine.read_torch_build(text) == build


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (None, (False, None)),
        ("import sys; sys.exit(9)", (False, None)),
        ("print('No devices were found')", (False, None)),
        ("print('| NVIDIA-SMI 600  CUDA Version: 13.2 |')", (True, (13, 2))),
        ("print('| NVIDIA-SMI 999  CUDA UMD Version : 14.0 |')", (True, (14, 0))),
        ("print('a table of another kind')", (True, None)),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
def test_the_driver_is_asked(
    script: str | None,
    expected: tuple[bool, tuple[int, int] | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if script is not None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{script}"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "ask_driver_library", lambda: (False, None))
    assert machine.nvidia_driver() == expected
