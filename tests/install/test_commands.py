"""The command line of install.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import install
from installer import commands
from installer.environment import EnvironmentFailed
from installer.remedies import INSTALL_SCRIPT

COMMANDS = ("demo", "test", "fuzz", "bench", "album", "engine", "doctor")


class FakeRun:
    """Stands in for every program that would be run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commands: list[list[str]] = []
        self.status: dict[str, int] = {}
        monkeypatch.setattr(commands, "run_visibly", self)
        monkeypatch.setattr(commands, "is_running_inside", lambda: False)
        monkeypatch.delenv("FASTFACE_PYTHON", raising=False)

    def __call__(
        self,
        command: Sequence[str],
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        self.commands.append(list(command))
        return next((status for word, status in self.status.items() if word in command), 0)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    return FakeRun(monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], (False, False, False)),
        (["--dry-run"], (False, False, True)),
        (["--strict", "--tests"], (True, True, False)),
    ],
)
def test_no_command_installs(
    arguments: list[str], options: tuple[bool, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, ...]] = []

    def install_missing(with_tests: bool, strict: bool, dry_run: bool) -> int:
        seen.append((with_tests, strict, dry_run))
        return 7

    monkeypatch.setattr(commands, "install_missing", install_missing)
    assert commands.run(arguments) == 7
    assert seen == [options]


@pytest.mark.parametrize("arguments", [["bogus"], ["--bogus"], ["--dry-run", "x"], ["doctor", "x"]])
def test_what_is_not_understood_is_refused_with_the_list(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.run(arguments) == 2
    refusal = capsys.readouterr().err
    assert all(word in refusal for word in COMMANDS)


@pytest.mark.parametrize("arguments", [["help"], ["--help"], ["-h"], ["demo", "-h"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(arguments) == 0
    text = capsys.readouterr().out
    assert "FASTFACE_PYTHON" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("command", ["demo", "test", "fuzz", "bench", "album"])
def test_the_environment_is_made_and_used(
    command: str, fake: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[bool] = []

    def ensure(with_tests: bool) -> str:
        wanted.append(with_tests)
        return "env-python"

    monkeypatch.setattr(commands, "ensure", ensure)
    fake.status["env-python"] = 5
    assert commands.run([command, "a b"]) == 5
    assert wanted == [command not in ("demo", "album")]
    assert fake.commands == [["env-python", str(INSTALL_SCRIPT), command, "--here", "a b"]]


def test_a_named_python_is_used_and_nothing_is_made(
    fake: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTFACE_PYTHON", "my-python")
    assert commands.run(["demo"]) == 0
    assert fake.commands == [["my-python", str(INSTALL_SCRIPT), "demo", "--here"]]


def test_an_environment_that_fails_is_said(
    fake: FakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ensure(with_tests: bool) -> str:
        raise EnvironmentFailed("the disk is full")

    monkeypatch.setattr(commands, "ensure", ensure)
    assert commands.run(["test"]) == 1
    assert "the disk is full" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, 0),
        ({"pytest": 1}, 1),
        ({"pytest": 5}, 5),
        ({"check": 1}, 1),
        ({"format": 1}, 1),
        ({"basedpyright": 3}, 1),
        ({"check": 1, "pytest": 2}, 2),
    ],
)
def test_every_check_runs_and_counts(
    status: dict[str, int], expected: int, fake: FakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.status = status
    assert commands.run(["test", "--here", "-k", "faces"]) == expected
    tools = [command[2] for command in fake.commands]
    assert tools == ["ruff", "ruff", "basedpyright", "pytest"]
    assert fake.commands[-1][3:] == ["-k", "faces"]  # nobody else gets the arguments
    assert ("FAILED" in capsys.readouterr().out) is bool(status.keys() - {"pytest"})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["-n", "auto", "--dist", "loadfile"]),
        (["tests/utils", "tests/nodes"], ["-n", "auto", "--dist", "loadfile"]),
        (["tests/test_layers.py"], []),
        (["tests/utils", "tests/test_layers.py"], []),
        (["tests/utils", "-x"], []),
        (["-k", "faces"], []),
    ],
)
def test_whole_folders_of_tests_run_in_several_processes(
    arguments: list[str], expected: list[str], fake: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands.importlib.util, "find_spec", lambda _name: object())
    monkeypatch.chdir("/")  # paths are those of the folder that pytest runs in
    commands.run(["test", "--here", *arguments])
    assert fake.commands[-1][3:] == [*expected, *arguments]


def test_without_pytest_xdist_the_tests_run_in_one_process(
    fake: FakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands.importlib.util, "find_spec", lambda _name: None)
    commands.run(["test", "--here"])
    assert fake.commands[-1][3:] == []
    assert "In one process: pytest-xdist" in capsys.readouterr().out


def test_inside_the_environment_nothing_else_is_started(
    fake: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "is_running_inside", lambda: True)
    commands.run(["test"])
    assert all(command[:2] == [sys.executable, "-m"] for command in fake.commands)


def test_the_demo_gets_its_arguments(
    fake: FakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "installer" / "pack_commands"
    folder.mkdir(parents=True)
    for package in (tmp_path, folder.parent, folder):
        (package / "__init__.py").touch()
    (folder / "demo.py").write_text("def main(argv):\n    return len(argv[0])\n")
    monkeypatch.setattr(install, "ROOT", tmp_path)
    names = [name for name in sys.modules if name.partition(".")[0] == "fastface"]
    for name in names:  # the pack's own modules come back when the test is over
        monkeypatch.delitem(sys.modules, name)
    try:
        assert commands.run(["demo", "--here", "photo.jpg"]) == 9
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "fastface"]:
            del sys.modules[name]


def test_a_folder_without_a_package_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(install, "ROOT", tmp_path)
    with pytest.raises(FileNotFoundError):
        install.import_pack("fastface_not_a_pack")


def test_an_old_python_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "OLDEST_PYTHON", (99, 0))
    assert install.main() == 1
    assert "needs Python 99.0 or newer" in capsys.readouterr().err


def test_the_script_finds_its_parts_in_isolated_mode(tmp_path: Path) -> None:
    """ComfyUI's portable Python starts scripts like this, from any folder."""
    answer = subprocess.run(
        [sys.executable, "-I", str(INSTALL_SCRIPT), "bogus"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert answer.returncode == 2, answer.stderr
