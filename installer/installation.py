"""`python install.py`: adds what is missing to the running interpreter and moves nothing in it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .console import command_line, say, table
from .machine import Installed, examine, look_for
from .needs import (
    ENGINE_NEEDS,
    HOST_NEEDS,
    TEST_NEEDS,
    Need,
    choose_onnxruntime,
    is_there,
    onnxruntime_need,
    own_needs,
    recorded_package,
    what_answers,
)
from .packages import constraint_lines, front_end, install, install_command
from .remedies import Remedies

#: Exit status of `--strict`: all that is required is there, something optional is not.
OPTIONAL_MISSING = 3
REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements.txt"


#: `MISSING` is what is not ours to install.
OutcomeState = Literal["was there", "installed", "MISSING", "SKIPPED", "FAILED"]


@dataclass(frozen=True)
class Outcome:
    """What became of one need.

    Attributes:
        need: The need.
        state: What.
        detail: The package and its version, or the command that mends it.
    """

    need: Need
    state: OutcomeState
    detail: str

    @property
    def good(self) -> bool:
        return self.state in ("was there", "installed")


def install_missing(with_tests: bool = False, strict: bool = False, dry_run: bool = False) -> int:
    """Installs what is missing and says what became of each package.

    Args:
        with_tests: Whether the tools of the tests are wanted too.
        strict: Whether a missing optional package shows in the exit status.
        dry_run: Whether the commands are printed instead of run.

    Returns:
        0 when the pack can work, else 1; `OPTIONAL_MISSING` when only `strict` is not content.
    """
    needs = wanted_needs(with_tests)
    modules = [need.module for need in (*HOST_NEEDS, *needs)]
    before = look_for(modules)
    if "onnxruntime" not in before.modules and not before.onnxruntimes:
        machine = examine()
        needs = [onnxruntime_need(machine) if n.module == "onnxruntime" else n for n in needs]
        say("ONNX Runtime: {} ({})".format(*choose_onnxruntime(machine)))
    missing = [need for need in needs if not is_there(need, before)]
    if not missing:
        say("Nothing to install: all that the pack uses is there.")
        return conclude(judge(needs, before, before, Remedies(None, before)), strict)

    front = front_end(sys.executable)
    if dry_run:
        print_commands(missing, before, front or (sys.executable, "-m", "pip"))
        return 0
    if front is None:
        remedy = Remedies(None, before).bring_pip()
        say(f"{sys.executable} has no pip, and there is no uv: packages can't be installed.")
        say(f"Then run this script again after: {remedy}")
    else:
        add(missing, modules, front)
    after = look_for(modules)
    return conclude(judge(needs, before, after, Remedies(front, after)), strict)


def wanted_needs(with_tests: bool) -> list[Need]:
    """All that this script may install, in the order of the final table."""
    own = own_needs(REQUIREMENTS.read_text(encoding="utf-8"))
    return [*own, onnxruntime_need(None), *ENGINE_NEEDS, *(TEST_NEEDS if with_tests else ())]


def add(missing: Sequence[Need], modules: Sequence[str], front: Sequence[str]) -> None:
    """Installs: what has dependencies together, or one by one if that fails; then the rest."""
    for _, package in recorded_without_files(missing, look_for(modules)):
        say(f"Installing {package} again: it is on record, but its files are gone ...")
        name = package.partition("==")[0]
        install(front, [package], look_for(modules), [name], dependencies=False, again=True)
    there = look_for(modules)
    missing = [need for need in missing if not is_there(need, there)]
    together = [need for need in missing if not need.beside]
    if together:
        say(f"Installing {', '.join(need.requirement for need in together)} ...")
        requirements = [need.requirement for need in together]
        names = [need.distribution for need in together]
        if not install(front, requirements, look_for(modules), names) and len(together) > 1:
            say("That did not work together; trying them one by one.")
            for need in together:
                say(f"Installing {need.requirement} ...")
                install(front, [need.requirement], look_for(modules), [need.distribution])
    for need in missing:
        now = look_for(modules)
        if need.beside and now.modules.issuperset(need.beside):
            say(f"Installing {need.requirement} without its pins ...")
            install(front, [need.requirement], now, [need.distribution], dependencies=False)


def recorded_without_files(missing: Sequence[Need], installed: Installed) -> list[tuple[Need, str]]:
    """Of missing needs those that pip has on record, each with the requirement that is recorded."""
    recorded = ((need, recorded_package(need, installed)) for need in missing)
    return [(need, f"{name}=={installed.distributions[name]}") for need, name in recorded if name]


def print_commands(missing: Sequence[Need], before: Installed, front: Sequence[str]) -> None:
    """Prints what `add` would run, with the constraint file's lines."""
    again = recorded_without_files(missing, before)
    mended = [need for need, _ in again]
    missing = [need for need in missing if need not in mended]
    groups = [[need for need in missing if not need.beside]]
    there = {*before.modules, *(need.module for need in (*mended, *groups[0]))}
    groups += [[need] for need in missing if need.beside and there.issuperset(need.beside)]
    say("CONSTRAINTS is a file with these lines:")
    for line in constraint_lines(before, [need.distribution for need in missing]):
        say(f"  {line}")
    say("Commands:")
    for _, package in again:
        command = install_command(
            front, [package], constraints="CONSTRAINTS", dependencies=False, again=True
        )
        say(f"  {command_line(command)}")
    for group in filter(None, groups):
        command = install_command(
            front,
            [need.requirement for need in group],
            constraints="CONSTRAINTS",
            dependencies=not group[0].beside,
        )
        say(f"  {command_line(command)}")
    for need in missing:
        if not there.issuperset(need.beside):
            say(f"Not {need.distribution}: it needs {', '.join(set(need.beside) - there)}.")


def judge(
    needs: Sequence[Need], before: Installed, after: Installed, remedies: Remedies
) -> list[Outcome]:
    """What became of each need, those of ComfyUI first."""
    outcomes: list[Outcome] = []
    for need in HOST_NEEDS:
        if need.module in after.modules:
            outcomes.append(Outcome(need, "was there", what_answers(need, after)))
        elif need.module in ("torch", "torchvision"):
            outcomes.append(Outcome(need, "MISSING", remedies.add_torchvision()))
        else:
            outcomes.append(Outcome(need, "MISSING", remedies.install(need.requirement)))
    for need in needs:
        lacking = [module for module in need.beside if module not in after.modules]
        if is_there(need, before):
            outcomes.append(Outcome(need, "was there", what_answers(need, after)))
        elif is_there(need, after):
            outcomes.append(Outcome(need, "installed", what_answers(need, after)))
        elif lacking:
            reason = f"needs {', '.join(lacking)}; then: {remedies.run_installer()}"
            outcomes.append(Outcome(need, "SKIPPED", reason))
        elif name := recorded_package(need, after):
            outcomes.append(Outcome(need, "FAILED", remedies.reinstall(name)))
        else:
            options = ["--no-deps"] if need.beside else []
            remedy = remedies.install(*options, need.requirement)
            outcomes.append(Outcome(need, "FAILED", remedy))
    return outcomes


def conclude(outcomes: Sequence[Outcome], strict: bool) -> int:
    """Prints the table and the verdict.

    Returns:
        The exit status.
    """
    say()
    say(table([(o.need.distribution, o.state, o.detail) for o in outcomes]))
    say()
    fatal = [o.need.distribution for o in outcomes if o.need.required and not o.good]
    lacking = [o for o in outcomes if not o.need.required and not o.good]
    if fatal:
        say(f"Needed, but not there: {', '.join(fatal)}; the commands are in the table.")
        return 1
    if lacking:
        for purpose in dict.fromkeys(o.need.purpose for o in lacking):
            names = ", ".join(o.need.distribution for o in lacking if o.need.purpose == purpose)
            say(f"The pack works, but without {purpose}: {names} is not there.")
        return OPTIONAL_MISSING if strict else 0
    say("The pack can work.")
    return 0
