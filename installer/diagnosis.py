"""What is wrong with an installation and which command mends it: pure decisions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .machine import Installed, Machine, canonical_name
from .needs import HOST_NEEDS, Need, is_there, recorded_package, release
from .remedies import TORCH_FAMILY, Remedies

ProbeState = Literal["works", "FAILS", "CRASHES", "HANGS", "absent"]


@dataclass(frozen=True)
class Probe:
    """How importing and trying one module went.

    Attributes:
        state: How.
        error: The last line of what it said, where it does not work.
        facts: What was found out, by `probe.TRIALS`.
        log: All that it wrote to standard error.
    """

    state: ProbeState = "absent"
    error: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    log: str = ""

    @property
    def broken(self) -> bool:
        return self.state not in ("works", "absent")


@dataclass(frozen=True)
class Report:
    """All that was found out.

    Attributes:
        needs: What the pack uses.
        installed: What is there.
        machine: The machine.
        probes: How each module went, by its name.
        conflicts: Lines of `pip check`.
        can_install: Whether there is a pip or uv.
        hidden_gpus: The variable that hides the GPUs, as `NAME=value`; empty when none does.
    """

    needs: Sequence[Need]
    installed: Installed = field(default_factory=Installed)
    machine: Machine = field(default_factory=Machine)
    probes: Mapping[str, Probe] = field(default_factory=dict)
    conflicts: Sequence[str] = ()
    can_install: bool = True
    hidden_gpus: str = ""

    def probe(self, module: str) -> Probe:
        """How a module went; absent if it was not tried."""
        return self.probes.get(module, Probe())


@dataclass(frozen=True)
class Finding:
    """Something to know.

    Attributes:
        problem: What it is.
        remedy: The one command that mends it.
        wrong: Whether something does not work; else it is advice.
    """

    problem: str
    remedy: str
    wrong: bool = True


def diagnose(report: Report, remedies: Remedies) -> list[Finding]:
    """What is wrong, causes before their effects, then advice; empty when all is well."""
    findings = [finding for rule in RULES for finding in rule(report, remedies)]
    return sorted(findings, key=lambda finding: not finding.wrong)


def no_installer(report: Report, remedies: Remedies) -> list[Finding]:
    """Without pip or uv none of the other commands works."""
    if report.can_install:
        return []
    return [Finding("there is neither pip nor uv to install with", remedies.bring_pip())]


def files_gone(report: Report, remedies: Remedies) -> list[Finding]:
    """Packages that pip has on record and whose module is not there."""
    findings: list[Finding] = []
    several = len(report.installed.onnxruntimes) > 1
    for need in report.needs:
        name = recorded_package(need, report.installed)
        if name is None or (need.module == "onnxruntime" and several):
            continue  # of several none is to stay as it is: another finding says so
        problem = (
            f"{name} is on record, but its module {need.module} is gone, as when another package "
            "with the same files is removed"
        )
        findings.append(Finding(problem, remedies.reinstall(name)))
    return findings


def missing_packages(report: Report, remedies: Remedies) -> list[Finding]:
    """Required packages that are not there or too old, and optional ones as advice."""
    lacking = [
        need
        for need in report.needs
        if not is_there(need, report.installed) and not recorded_package(need, report.installed)
    ]
    host = [need for need in lacking if need in HOST_NEEDS]
    own = [need for need in lacking if need.required and need not in host]
    optional = [need for need in lacking if not need.required and need not in host]
    findings: list[Finding] = []
    for need in host:
        torch = need.module in TORCH_FAMILY
        if need.module == "torchvision" and any(other.module == "torch" for other in host):
            continue  # comes along with torch
        remedy = remedies.add_torchvision() if torch else remedies.install(need.requirement)
        findings.append(
            Finding(f"{need.requirement} is not installed", remedy, wrong=need.required)
        )
    for group, wrong in ((own, True), (optional, False)):
        if group:
            names = ", ".join(need.requirement for need in group)
            problem = f"not installed{'' if wrong else ' (optional)'}: {names}"
            findings.append(Finding(problem, remedies.run_installer(), wrong))
    return findings


def cpu_only_torch(report: Report, remedies: Remedies) -> list[Finding]:
    """An NVIDIA GPU that torch can't use."""
    machine, torch = report.machine, report.probe("torch")
    if torch.state != "works" or not machine.nvidia or machine.torch_other:
        return []
    if machine.torch_cuda is None:
        return [
            Finding(
                "torch is a CPU-only build on a machine with an NVIDIA GPU",
                remedies.torch_for_gpu(machine),
            )
        ]
    if "cuda" in torch.facts.get("runs_on", []):
        return []
    if report.hidden_gpus:
        name = report.hidden_gpus.split("=", maxsplit=1)[0]
        clear = f"set {name}=" if machine.system == "Windows" else f"unset {name}"
        return [Finding(f"{report.hidden_gpus} hides the GPU from torch", clear)]
    reason = torch.facts.get("gpu_error", "torch does not say why")
    problem = f"torch (CUDA {machine.torch_cuda}) can't use the NVIDIA GPU: {reason}"
    return [Finding(problem, remedies.torch_for_gpu(machine))]


def several_onnxruntimes(report: Report, remedies: Remedies) -> list[Finding]:
    """ONNX Runtime packages that overwrite each other's files."""
    names = report.installed.onnxruntimes
    if len(names) < 2:
        return []
    problem = f"{len(names)} ONNX Runtime packages overwrite each other: {', '.join(names)}"
    return [Finding(problem, remedies.one_onnxruntime(names))]


def onnxruntime_without_gpu(report: Report, remedies: Remedies) -> list[Finding]:
    """CUDA that is offered and falls back to the CPU, or is not offered on an NVIDIA machine."""
    probe, names = report.probe("onnxruntime"), report.installed.onnxruntimes
    if probe.state != "works" or len(names) != 1:
        return []
    offered, machine = probe.facts.get("providers", []), report.machine
    if "CUDAExecutionProvider" not in offered:
        if not machine.nvidia or names != ("onnxruntime",):
            return []
        problem = "onnxruntime runs on the CPU only, this machine has an NVIDIA GPU"
        return [Finding(problem, remedies.one_onnxruntime(names), wrong=False)]
    if probe.facts.get("cuda_runs") or report.hidden_gpus:
        return []
    if not machine.nvidia:
        problem = f"{names[0]} offers CUDA, but there is no NVIDIA GPU with a working driver here"
        return [Finding(problem, remedies.one_onnxruntime(names), wrong=False)]
    library = re.search(r'lib\w+\.so[.\d]*(?=: cannot)|(?<=depends on ")[^"]+', probe.log)
    problem = f"{names[0]} offers CUDA and falls back to the CPU"
    problem += f": {library[0]} can't be loaded" if library else ""
    built_for = release(probe.facts.get("cuda") or "")
    torch_cuda = release(machine.torch_cuda or "")
    if not torch_cuda:
        return []  # torch would bring the CUDA libraries: another finding says what it lacks
    if built_for and built_for[0] != torch_cuda[0]:
        problem += f"; it is built for CUDA {built_for[0]}, torch brings CUDA {torch_cuda[0]}"
        return [Finding(problem, remedies.one_onnxruntime(names))]
    version = report.installed.distributions.get(names[0], "")
    remedy = remedies.install(f"{names[0]}[cuda,cudnn]=={version}")
    return [Finding(problem, remedy)]


def broken_imports(report: Report, remedies: Remedies) -> list[Finding]:
    """Modules that are there and don't work; not those that only stumble over another one."""
    broken = {need.module for need in report.needs if report.probe(need.module).broken}
    gone = {need.module for need in report.needs if recorded_package(need, report.installed)}
    findings: list[Finding] = []
    for need in report.needs:
        rests_on = {*need.beside, *(("torch",) if need.module == "torchvision" else ())}
        if need.module not in broken or (broken | gone) & rests_on:
            continue
        probe = report.probe(need.module)
        problem = f"{need.module} {probe.state.lower()} when imported: {probe.error}"
        findings.append(Finding(problem, mend_import(need, probe.error, report, remedies)))
    return findings


def mend_import(need: Need, error: str, report: Report, remedies: Remedies) -> str:
    """The command for a module that can't be imported, told by what it says."""
    absent = re.search(r"No module named '([A-Za-z0-9_]+)'", error)
    if absent:
        known = {other.module: other.requirement for other in report.needs}
        return remedies.install(known.get(absent[1], absent[1]))
    if "libGL" in error or "libgthread" in error:  # the builds with windows, on a server
        variants = [n for n in report.installed.distributions if n.startswith("opencv-")]
        return remedies.one_after_the_other(
            remedies.uninstall(*variants), remedies.install("opencv-python-headless")
        )
    name = installed_name(need, report.installed)
    if "compiled using NumPy" in error or "numpy.dtype size changed" in error:
        return remedies.install("--upgrade", "--no-deps", name)
    if need.module == "onnxruntime" and "DLL load failed" in error:
        return "winget install Microsoft.VCRedist.2015+.x64"
    return remedies.reinstall(name)


def installed_name(need: Need, installed: Installed) -> str:
    """The package a module comes from, or the one it would come from."""
    if need.module == "onnxruntime" and installed.onnxruntimes:
        return installed.onnxruntimes[0]
    if need.distribution in installed.distributions or not need.variants:
        return need.distribution
    others = (name for name in installed.distributions if name.startswith(need.variants))
    return min(others, default=need.distribution)


def conflicting_pins(report: Report, remedies: Remedies) -> list[Finding]:
    """Versions that a package the pack uses forbids; not those installed in spite of their pins."""
    ours = {installed_name(need, report.installed) for need in report.needs if not need.beside} - {
        need.distribution for need in report.needs if need.beside
    }
    findings: list[Finding] = []
    for line in report.conflicts:
        conflict = re.match(
            r"(?:The package )?`?([A-Za-z0-9._-]+)`?(?: \S+)? (?:requires|has requirement) "
            r"`?([^`]+?)`?, (?:which is|but)",
            line,
        )
        if conflict is None or canonical_name(conflict[1]) not in ours:
            continue
        name, wanted = conflict.groups()
        fitting = _that_go_together(name, wanted, report.installed)
        findings.append(Finding(line.rstrip("."), remedies.install(*fitting)))
    return findings


def _that_go_together(name: str, wanted: str, installed: Installed) -> tuple[str, ...]:
    """Requirements that end a conflict and lower nothing that ComfyUI brought.

    Args:
        name: The package that is not content.
        wanted: What it requires.
        installed: What is there.
    """
    versions, host = installed.distributions, {need.distribution for need in HOST_NEEDS}
    other = canonical_name(re.split(r"[^A-Za-z0-9._-]", wanted, maxsplit=1)[0])
    if other not in versions:
        return (wanted,)
    own = canonical_name(name)
    if own in host and (other not in host or own == "torch"):
        # Asked for without its version it would be replaced by an older one that is content.
        return (wanted, f"{name}=={versions[own]}")
    # What others share stays; the package that is not content is replaced by one that is.
    return (name, f"{other}=={versions[other]}")


RULES: tuple[Callable[[Report, Remedies], list[Finding]], ...] = (
    no_installer,
    files_gone,
    missing_packages,
    cpu_only_torch,
    broken_imports,
    several_onnxruntimes,
    onnxruntime_without_gpu,
    conflicting_pins,
)
