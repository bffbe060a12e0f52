"""How the doctor looks: modules are tried in processes of their own, and the report is printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from installer import doctor, probe
from installer.diagnosis import Finding, Probe
from installer.machine import Machine
from installer.remedies import INSTALL_SCRIPT

MARK = probe.MARK


@pytest.mark.parametrize(
    ("status", "output", "log", "state", "error"),
    [
        (1, "", "", "FAILS", "it says nothing"),
        (0, f"noise\n{MARK}{{}}\n", "", "works", ""),
        (0, f"{MARK}{{}}\nnoise at exit\n", "a warning\n", "works", ""),
        (1, "", "Traceback:\nImportError: no\n\n", "FAILS", "ImportError: no"),
        (0, "ended early\n", "", "FAILS", "it says nothing"),
        (-11, f"{MARK}{{}}", "", "CRASHES", "the process ended with -11"),
        (3221225477, "", "dll\n", "CRASHES", "last words: dll"),
    ],
)
def test_what_a_process_left_is_read(
    status: int, output: str, log: str, state: str, error: str
) -> None:
    answer = doctor.read_answer(status, output, log)
    assert answer.state == state
    assert error in answer.error


@pytest.mark.parametrize(
    ("source", "state", "error"),
    [
        ("", "works", ""),
        ("print('hello')", "works", ""),
        ("import fastface_not_there", "FAILS", "No module named 'fastface_not_there'"),
        ("import os; os.abort()", "CRASHES", "the process ended with"),
        ("import time; time.sleep(60)", "HANGS", "no end after 2 seconds"),
    ],
)
def test_a_module_is_tried(
    source: str, state: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Named like one of the installer's own files: that one must not be what is imported.
    (tmp_path / "diagnosis.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    answer = doctor.try_import("diagnosis", seconds=2 if state == "HANGS" else 60)
    assert answer.state == state
    assert error in answer.error


def test_the_tiny_model_runs() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    numpy = pytest.importorskip("numpy")
    session = onnxruntime.InferenceSession(probe.TINY_MODEL, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": numpy.array([-2.0], dtype="float32")})
    assert result.tolist() == [0.0]


class FakeOnnxRuntime:
    """ONNX Runtime as it is on a GPU machine, with or without its libraries."""

    def __init__(self, runs: bool) -> None:
        self._runs = runs
        self.preloaded = False

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        self.preloaded = True

    def InferenceSession(self, model: bytes, providers: list[str]) -> FakeOnnxRuntime:
        return self

    def get_providers(self) -> list[str]:
        return self.get_available_providers()[0 if self._runs else 1 :]

    def run(self, outputs: None, inputs: dict[str, object]) -> None:
        pass


@pytest.mark.parametrize("runs", [False, True])
def test_a_silent_fallback_is_noticed(runs: bool) -> None:
    pytest.importorskip("numpy")
    runtime = FakeOnnxRuntime(runs)
    assert probe.try_onnxruntime(runtime)["cuda_runs"] is runs
    assert runtime.preloaded  # torch's CUDA libraries had their chance


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        ("0", ""),
        ("", "CUDA_VISIBLE_DEVICES="),
        ("-1", "CUDA_VISIBLE_DEVICES=-1"),
    ],
)
def test_hidden_gpus(value: str | None, expected: str) -> None:
    assert doctor.hidden_gpus({} if value is None else {"CUDA_VISIBLE_DEVICES": value}) == expected


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (Machine(), "none"),
        (Machine(nvidia=True), "yes"),
        (Machine(nvidia=True, driver_cuda=(13, 2)), "yes, it serves CUDA up to 13.2"),
    ],
)
def test_the_driver_in_words(machine: Machine, words: str) -> None:
    assert doctor.describe_driver(machine) == words


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, ""),
        ({"cuda": None, "hip": None, "runs_on": []}, "built with no CUDA; runs on the CPU"),
        (
            {"cuda": "13.2", "hip": None, "runs_on": ["cuda"], "gpu": "RTX"},
            "built with CUDA 13.2; runs on the CPU and cuda (RTX)",
        ),
        ({"cuda": None, "hip": "6.4", "runs_on": ["cuda"]}, "built with ROCm 6.4"),
        ({"providers": ["CPUExecutionProvider"]}, "providers: CPU"),
        (
            {"providers": ["CUDAExecutionProvider"], "cuda_runs": False},
            "providers: CUDA; CUDA falls back to the CPU",
        ),
    ],
)
def test_a_trial_in_words(facts: dict[str, object], words: str) -> None:
    assert doctor.describe(Probe("works", facts=facts)).startswith(words)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], "\nAll well.\n"),
        (
            [Finding("it is slow", "do this", wrong=False)],
            "\nADVICE: it is slow\n    do this\nAll well.\n",
        ),
        ([Finding("it is broken", "do that")], "\nWRONG: it is broken\n    do that\n"),
    ],
)
def test_findings_are_printed(
    findings: list[Finding], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor.print_findings(findings)
    assert capsys.readouterr().out == expected


def test_a_bare_interpreter_is_examined(tmp_path: Path) -> None:
    """-S hides every installed package: all is missing, and JSON is all that is printed."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    answer = subprocess.run(
        [sys.executable, "-S", str(INSTALL_SCRIPT), "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert answer.returncode == 1, answer.stderr
    report = json.loads(answer.stdout)
    assert report["well"] is False
    assert report["packages"]["torch"]["state"] == "absent"
    assert any(finding["problem"] == "torch is not installed" for finding in report["findings"])
    assert all(finding["remedy"] for finding in report["findings"])
