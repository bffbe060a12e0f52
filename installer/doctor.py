"""`python install.py doctor`: looks, tries, and says what to do."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import probe as probe_program
from .console import say
from .diagnosis import Finding, Probe, Report, diagnose
from .installation import wanted_needs
from .machine import Machine, examine, look_for
from .needs import HOST_NEEDS, Need, what_answers
from .node_needs import node_needs
from .packages import front_end
from .remedies import Remedies

#: Importing torch from a cold and slow disk can take more than a minute.
SECONDS_TO_IMPORT = 180
#: What users add themselves; nothing is missing without them.
EXTRA_NEEDS = (
    Need("openvino", "openvino", "the openvino backend"),
    Need("pillow_heif", "pillow-heif", "HEIC photos"),
    Need("faiss", "faiss-cpu", "quick search in large galleries", variants="faiss-"),
    Need("pyarrow", "pyarrow", "Parquet files"),
    Need("tensorrt", "tensorrt", "the tensorrt backend", variants="tensorrt-cu"),
    Need("tensorrt_rtx", "tensorrt-rtx-cu13", "the tensorrt backend", variants="tensorrt-rtx"),
)


def examine_and_report(as_json: bool) -> int:
    """Examines the running interpreter and prints what was found.

    Args:
        as_json: Whether one JSON object is printed instead of text.

    Returns:
        0 when all is well, else 1.
    """
    needs = [*HOST_NEEDS, *wanted_needs(with_tests=False)]
    all_needs = [*needs, *EXTRA_NEEDS]
    installed = look_for(need.module for need in all_needs)
    front = front_end(sys.executable)
    if not as_json:
        say(f"Python {platform.python_version()}  {sys.executable}  {platform.platform()}")
    machine = examine()
    if not as_json:
        say(f"NVIDIA GPU with a working driver: {describe_driver(machine)}")
        say()
    probes: dict[str, Probe] = {}
    for need in all_needs:
        if need.module in installed.modules:
            probes[need.module] = try_import(need.module)
        if not as_json:
            probe = probes.get(need.module, Probe())
            package = what_answers(need, installed) if need.module in installed.modules else "-"
            say(f"{need.module:16} {package:34} {probe.state:8} {describe(probe)}".rstrip())
    report = Report(
        needs,
        installed,
        machine,
        probes,
        conflicts=check_pins(front) if front else (),
        can_install=front is not None,
        hidden_gpus=hidden_gpus(os.environ),
    )
    remedies = Remedies(front, installed)
    findings = diagnose(report, remedies)
    nodes = node_needs(all_needs, probes, remedies)
    if as_json:
        say(json.dumps(as_data(report, all_needs, findings) | {"nodes": nodes}, indent=2))
    else:
        say()
        for title, state in nodes.items():
            say(f"{title:40} {state}")
        print_findings(findings)
    return int(any(finding.wrong for finding in findings))


def try_import(module: str, seconds: float = SECONDS_TO_IMPORT) -> Probe:
    """Imports and tries a module in a process of its own."""
    # An empty folder: nothing in the current one can stand in for a module.
    with tempfile.TemporaryDirectory(prefix="fastface-") as folder:
        try:
            answer = subprocess.run(
                [sys.executable, str(Path(probe_program.__file__).resolve()), module],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                cwd=folder,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Probe("HANGS", f"no end after {seconds:g} seconds")
    return read_answer(answer.returncode, answer.stdout, answer.stderr)


def read_answer(status: int, output: str, log: str) -> Probe:
    """Tells from what the probe's process left how it went.

    Args:
        status: Its exit status; that of Python after an exception is 1, any other is a crash.
        output: Its standard output.
        log: Its standard error.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if status not in (0, 1):
        last = f"; last words: {lines[-1]}" if lines else ""
        return Probe("CRASHES", f"the process ended with {status}{last}", log=log)
    _, mark, facts = output.rpartition(probe_program.MARK)
    if status or not mark:
        return Probe("FAILS", lines[-1] if lines else "it says nothing", log=log)
    return Probe("works", facts=json.loads(facts.splitlines()[0]), log=log)


def check_pins(front: Sequence[str]) -> tuple[str, ...]:
    """The lines in which pip or uv says which installed versions don't go together."""
    where = [] if tuple(front[1:]) == ("-m", "pip") else ["--python", sys.executable]
    try:
        answer = subprocess.run(
            [*front, "check", *where],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS_TO_IMPORT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(line.strip() for line in (answer.stdout + answer.stderr).splitlines())


def hidden_gpus(environment: Mapping[str, str]) -> str:
    """The variable that hides every NVIDIA GPU, as `NAME=value`; empty when none does."""
    value = environment.get("CUDA_VISIBLE_DEVICES")
    return f"CUDA_VISIBLE_DEVICES={value}" if value in ("", "-1") else ""


def describe_driver(machine: Machine) -> str:
    """The driver in a few words."""
    if not machine.nvidia:
        return "none"
    cuda = machine.driver_cuda
    return f"yes, it serves CUDA up to {cuda[0]}.{cuda[1]}" if cuda else "yes"


def describe(probe: Probe) -> str:
    """What a trial found out, in a few words."""
    facts = probe.facts
    if probe.broken:
        return probe.error
    if "runs_on" in facts:
        build = f"CUDA {facts['cuda']}" if facts["cuda"] else f"ROCm {facts['hip']}"
        build = build if facts["cuda"] or facts["hip"] else "no CUDA"
        where = " and ".join(["the CPU", *facts["runs_on"]])
        gpu = f" ({facts['gpu']})" if "gpu" in facts else ""
        return f"built with {build}; runs on {where}{gpu}"
    if "providers" in facts:
        names = ", ".join(name.removesuffix("ExecutionProvider") for name in facts["providers"])
        runs = {True: "; CUDA really runs", False: "; CUDA falls back to the CPU", None: ""}
        return f"providers: {names}{runs[facts.get('cuda_runs')]}"
    return ""


def print_findings(findings: Sequence[Finding]) -> None:
    """Prints each finding with its command."""
    say()
    for finding in findings:
        say(f"{'WRONG' if finding.wrong else 'ADVICE'}: {finding.problem}")
        say(f"    {finding.remedy}")
    if not any(finding.wrong for finding in findings):
        say("All well.")


def as_data(report: Report, needs: Sequence[Need], findings: Sequence[Finding]) -> dict[str, Any]:
    """The report as what JSON can hold."""
    packages: dict[str, Any] = {}
    for need in needs:
        probe = report.probe(need.module)
        there = need.module in report.installed.modules
        packages[need.module] = {
            "package": what_answers(need, report.installed) if there else None,
            "state": probe.state,
            "error": probe.error,
            "facts": dict(probe.facts),
        }
    return {
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "platform": platform.platform(),
        "machine": vars(report.machine),
        "onnxruntime_packages": list(report.installed.onnxruntimes),
        "packages": packages,
        "findings": [vars(finding) for finding in findings],
        "well": not any(finding.wrong for finding in findings),
    }
