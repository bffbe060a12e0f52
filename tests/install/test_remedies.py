"""Every command that the doctor names is tried with pip's dry run: it works and lowers nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
import venv
from pathlib import Path

import pytest

from installer.diagnosis import Report, diagnose
from installer.environment import python_of
from installer.needs import HOST_NEEDS, release
from installer.remedies import TORCH_FAMILY, Remedies
from tests.install.test_diagnosis import CASES, VERSIONS
from tests.install.test_packages import PIP, make_wheel

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="there is no pip"),
    pytest.mark.skipif(os.name == "nt", reason="commands are written for cmd.exe there"),
]
HOST = {need.distribution for need in HOST_NEEDS} | set(TORCH_FAMILY)
OLDER, NEWER = "0.5", "99.0"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of every package its installed version, an older and a newer one.

    As in real life, torch wants a newer setuptools, and only an old one was content with any.
    """
    folder = tmp_path_factory.mktemp("wheels")
    wants = {"torch": "setuptools>=77", "torchvision": "torch==2.15.0+cu130"}
    newer_wants = {"torch": "setuptools>=77"}
    plain = ("setuptools", "ml-dtypes", "opencv-python", "onnxruntime", "torchaudio")
    for name, version in {**dict.fromkeys(plain, "80.0"), **VERSIONS}.items():
        written = name.replace("-", "_")
        make_wheel(folder, written, version, wants.get(name, ""))
        make_wheel(folder, written, OLDER)
        make_wheel(folder, written, NEWER, newer_wants.get(name, ""))
    make_wheel(folder, "setuptools", "65.5")
    return folder


def offline(wheels: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return {
        **kept,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


@pytest.fixture(scope="module")
def python(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with what `WELL` has, and an old setuptools."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=False)
    interpreter = str(python_of(environment))
    wanted = [f"{name}=={version}" for name, version in VERSIONS.items()]
    command = [*PIP, "--python", interpreter, "install", "--no-deps", "--quiet"]
    subprocess.run([*command, *wanted, "setuptools==65.5"], env=offline(wheels), check=True)
    return interpreter


@pytest.mark.parametrize("report", [case[0] for case in CASES], ids=[case[2] for case in CASES])
def test_the_command_works_and_lowers_nothing(report: Report, wheels: Path, python: str) -> None:
    remedies = Remedies(("py", "-m", "pip"), report.installed, python="py")
    for finding in diagnose(report, remedies):
        for command in finding.remedy.split(" && "):
            _, *words = shlex.split(command)
            if words[:3] == ["-m", "pip", "install"]:
                planned = dry_run(words[3:], wheels, python)
                lowered = {
                    name: version
                    for name, version in planned.items()
                    if name in HOST and release(version) < release(VERSIONS.get(name, "0"))
                }
                assert not lowered, finding.remedy


def dry_run(arguments: list[str], wheels: Path, python: str) -> dict[str, str]:
    """The version of each package that a command would install."""
    if "--index-url" in arguments:  # there is no index here
        place = arguments.index("--index-url")
        arguments = arguments[:place] + arguments[place + 2 :]
    options = ["--dry-run", "--quiet", "--report", "-"]
    answer = subprocess.run(
        [*PIP, "--python", python, "install", *options, *arguments],
        env=offline(wheels),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    packages = [entry["metadata"] for entry in json.loads(answer.stdout)["install"]]
    return {package["name"].replace("_", "-"): package["version"] for package in packages}
