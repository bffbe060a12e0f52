"""`python install.py`: what is added, in which order, and what is said about it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from installer import installation
from installer.installation import OPTIONAL_MISSING, Outcome, OutcomeState, add, conclude, judge
from installer.machine import Installed, Machine
from installer.needs import HOST_NEEDS, Need
from installer.remedies import INSTALL_SCRIPT, Remedies

HOST = frozenset(need.module for need in HOST_NEEDS)
OWN = Need("xxhash", "xxhash>=3", "everything", required=True, minimum=(3,))
PLAIN = Need("onnx", "onnx", "an engine")
PINNED = Need("insightface", "insightface>=2", "an engine", beside=("onnx",))
NEEDS = (OWN, PLAIN, PINNED)
MODULES = tuple(need.module for need in NEEDS)


class FakePip:
    """Stands in for an interpreter: what is in `broken` can't be installed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, broken: Sequence[str] = ()) -> None:
        self.modules = set(HOST)
        self.calls: list[tuple[tuple[str, ...], bool]] = []
        #: What was installed although it was on record; packages on record without their files;
        #: modules whose names are not their packages'.
        self.again: list[str] = []
        self.recorded: dict[str, str] = {}
        self.bring = {"onnxruntime-gpu": "onnxruntime"}
        self._broken = broken
        monkeypatch.setattr(installation, "install", self.install)
        monkeypatch.setattr(installation, "look_for", self.look_for)

    def look_for(self, modules: object) -> Installed:
        runtimes = tuple(name for name in self.recorded if name.startswith("onnxruntime"))
        versions = {**dict.fromkeys(self.modules, "9.0"), **self.recorded}
        return Installed(frozenset(self.modules), versions, runtimes)

    def install(
        self,
        front: Sequence[str],
        requirements: Sequence[str],
        installed: Installed,
        names: Sequence[str],
        dependencies: bool = True,
        again: bool = False,
    ) -> bool:
        self.calls.append((tuple(requirements), dependencies))
        self.again += requirements if again else ()
        if any(name in self._broken for name in names):
            return False
        self.modules.update(self.bring.get(name, name) for name in names)
        return True


def test_everything_is_added_in_as_few_calls_as_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    pip = FakePip(monkeypatch)
    add(NEEDS, MODULES, ("pip",))
    assert pip.calls == [(("xxhash>=3", "onnx"), True), (("insightface>=2",), False)]


def test_what_is_on_record_without_its_files_is_installed_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when onnxruntime was removed beside onnxruntime-gpu: nothing else is chosen or added."""
    pip = FakePip(monkeypatch)
    pip.modules.update(need.module for need in installation.wanted_needs(with_tests=False))
    pip.modules.remove("onnxruntime")
    pip.recorded = {"onnxruntime-gpu": "1.31.1"}
    assert installation.install_missing(strict=True) == 0
    assert pip.calls == [(("onnxruntime-gpu==1.31.1",), False)]
    assert pip.again == ["onnxruntime-gpu==1.31.1"]
    assert "its files are gone" in capsys.readouterr().out


def test_one_failure_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    pip = FakePip(monkeypatch, broken=["onnx"])
    add(NEEDS, MODULES, ("pip",))
    assert pip.calls == [
        (("xxhash>=3", "onnx"), True),
        (("xxhash>=3",), True),
        (("onnx",), True),
    ]
    assert "xxhash" in pip.modules
    assert "insightface" not in pip.modules  # it needs onnx, so it was not even tried


def test_only_what_is_missing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    pip = FakePip(monkeypatch)
    pip.modules.add("onnx")
    add([PINNED], MODULES, ("pip",))
    assert pip.calls == [(("insightface>=2",), False)]


@pytest.mark.parametrize(
    ("before", "after", "states"),
    [
        (set(), set(), {"torch": "MISSING", "xxhash": "FAILED", "insightface": "SKIPPED"}),
        (HOST, HOST, {"torch": "was there", "onnx": "FAILED", "insightface": "SKIPPED"}),
        (HOST, HOST | {"onnx"}, {"onnx": "installed", "insightface": "FAILED"}),
        (HOST | {"onnx"}, HOST | {"onnx", "xxhash"}, {"onnx": "was there", "xxhash": "installed"}),
    ],
)
def test_what_became_of_each_need(
    before: set[str], after: set[str], states: dict[str, str]
) -> None:
    remedies = Remedies(("py", "-m", "pip"), Installed(), python="py")
    outcomes = judge(NEEDS, Installed(frozenset(before)), Installed(frozenset(after)), remedies)
    found = {outcome.need.module: outcome.state for outcome in outcomes}
    assert {module: found[module] for module in states} == states
    for outcome in outcomes:
        assert outcome.good or "py" in outcome.detail  # each failure names a command


@pytest.mark.parametrize(
    ("states", "strict", "status", "words"),
    [
        ([], False, 0, "can work"),
        ([(OWN, "was there"), (PLAIN, "installed")], True, 0, "can work"),
        ([(OWN, "installed"), (PLAIN, "FAILED")], False, 0, "without an engine"),
        ([(OWN, "installed"), (PLAIN, "FAILED")], True, OPTIONAL_MISSING, "without an engine"),
        ([(OWN, "FAILED"), (PLAIN, "installed")], False, 1, "Needed, but not there: xxhash"),
        ([(HOST_NEEDS[0], "MISSING")], False, 1, "Needed, but not there: torch"),
    ],
)
def test_the_verdict(
    states: list[tuple[Need, OutcomeState]],
    strict: bool,
    status: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcomes = [Outcome(need, state, "the command") for need, state in states]
    assert conclude(outcomes, strict) == status
    assert words in capsys.readouterr().out


def test_a_complete_interpreter_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pip = FakePip(monkeypatch)
    pip.modules.update(need.module for need in installation.wanted_needs(with_tests=True))
    assert installation.install_missing(with_tests=True, strict=True) == 0
    assert pip.calls == []
    assert "Nothing to install" in capsys.readouterr().out


def test_no_pip_and_no_uv_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    FakePip(monkeypatch)
    monkeypatch.setattr(installation, "front_end", lambda python: None)
    monkeypatch.setattr(installation, "examine", Machine)
    assert installation.install_missing() == 1
    assert "ensurepip" in capsys.readouterr().out


def test_dry_run_prints_the_commands_of_a_bare_interpreter() -> None:
    """-S hides every installed package from the script."""
    answer = subprocess.run(
        [sys.executable, "-S", str(INSTALL_SCRIPT), "--dry-run"],
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    assert answer.returncode == 0, answer.stderr
    commands = [line.strip() for line in answer.stdout.splitlines() if " install " in line]
    assert len(commands) == 2
    assert all("--constraint CONSTRAINTS" in command for command in commands)
    assert "--no-deps" not in commands[0]
    assert "onnxruntime" in commands[0]
    assert "--no-deps" in commands[1] and "insightface" in commands[1]
    assert "Not facenet-pytorch: it needs torchvision." in answer.stdout
    assert not any(" torch" in command or "numpy" in command for command in commands)
