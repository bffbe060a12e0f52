"""The environment of their own that `demo` and `test` run in: `.env` in the clone."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .console import run_visibly, say
from .installation import OPTIONAL_MISSING, REQUIREMENTS
from .needs import ENGINE_NEEDS, TEST_NEEDS
from .packages import front_end
from .remedies import INSTALL_SCRIPT

FOLDER = INSTALL_SCRIPT.parent / ".env"
#: Written before anything else is, so that nobody's own folder is ever taken for ours.
STAMP = "fastface.json"


class EnvironmentFailed(Exception):
    """The environment can't be made; the message says why and what to do."""


@dataclass
class Stamp:
    """What is known about an environment.

    Attributes:
        python: The Python version it was made with.
        done: For each finished step, the hash of what it was to install.
        working_on: The step that was begun and not finished; empty when none was.
    """

    python: str = ""
    done: dict[str, str] = field(default_factory=dict)
    working_on: str = ""


def python_of(folder: Path, windows: bool = os.name == "nt") -> Path:
    """The interpreter of an environment."""
    return folder / ("Scripts/python.exe" if windows else "bin/python")


def is_running_inside(folder: Path = FOLDER) -> bool:
    """Whether the running interpreter is the environment's."""
    return Path(sys.prefix).resolve() == folder.resolve()


def python_version() -> str:
    """Version of the running interpreter as far as packages depend on it."""
    return ".".join(platform.python_version_tuple()[:2])


def wanted_steps(with_tests: bool) -> dict[str, str]:
    """The steps to a full environment, and for each the hash of what it installs."""
    pack = [REQUIREMENTS.read_text(encoding="utf-8"), repr(ENGINE_NEEDS)]
    steps = {"torch": ["torch", "torchvision"]}
    steps |= {"pack and test tools": [*pack, repr(TEST_NEEDS)]} if with_tests else {"pack": pack}
    return {
        name: hashlib.sha256("\n".join(wanted).encode()).hexdigest()
        for name, wanted in steps.items()
    }


def what_to_do(
    stamp: Stamp | None, exists: bool, runs: bool, python: str, wanted: Mapping[str, str]
) -> tuple[str, list[str]]:
    """Decides what an environment lacks.

    Args:
        stamp: What is written in it; None where nothing is.
        exists: Whether its folder is there and not empty.
        runs: Whether its interpreter starts.
        python: The Python version wanted.
        wanted: From `wanted_steps`.

    Returns:
        Why it has to be made from the start, empty if it needn't; and the steps to take.

    Raises:
        EnvironmentFailed: The folder is not one that this script made.
    """
    steps = list(wanted)
    if stamp is None:
        if exists:
            raise EnvironmentFailed(
                f"{FOLDER} is there, but this script did not make it; rename it and try again, or "
                "let FASTFACE_PYTHON name an interpreter that has what the pack needs"
            )
        return "there is none yet", steps
    if stamp.working_on:
        return f"it was interrupted while making: {stamp.working_on}", steps
    if stamp.python != python:
        return f"it was made for Python {stamp.python}, this is {python}", steps
    if not runs:
        return "its interpreter does not start any more", steps
    return "", [name for name in steps if stamp.done.get(name) != wanted[name]]


def ensure(with_tests: bool) -> str:
    """Makes the environment or brings it up to date.

    Args:
        with_tests: Whether it has to hold the tools of the tests.

    Returns:
        Its interpreter.

    Raises:
        EnvironmentFailed: It can't be made.
    """
    python = python_of(FOLDER)
    exists = FOLDER.exists() and not (FOLDER.is_dir() and not any(FOLDER.iterdir()))
    wanted = wanted_steps(with_tests)
    stamp = read_stamp(FOLDER)
    reason, steps = what_to_do(stamp, exists, starts(python), python_version(), wanted)
    if reason:
        say(f"Making the environment {FOLDER}: {reason}.")
        stamp = make(FOLDER)
    elif steps:
        say(f"Bringing the environment {FOLDER} up to date: {', '.join(steps)}.")
    for name in steps:
        began = time.monotonic()
        stamp = stamp or Stamp()
        stamp.working_on = name
        write_stamp(FOLDER, stamp)
        status = take_step(name, str(python))
        if status in (0, 1, OPTIONAL_MISSING):  # it ended by itself, so nothing is half-made
            stamp.working_on = ""
            stamp.done |= {name: wanted[name]} if status == 0 else {}
            write_stamp(FOLDER, stamp)
        if status not in (0, OPTIONAL_MISSING):
            raise EnvironmentFailed(f"the step {name!r} failed; the reason is printed above")
        say(f"Step done: {name}, {time.monotonic() - began:.0f} s.")
    return str(python)


def make(folder: Path) -> Stamp:
    """Makes an environment with nothing in it but, where possible, pip.

    Raises:
        EnvironmentFailed: An old one can't be removed, or neither venv nor uv can make a new one.
    """
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
    except OSError as error:
        raise EnvironmentFailed(
            f"{folder} can't be replaced ({error}); close what uses it and try again"
        ) from error
    stamp = Stamp(python_version(), working_on="the interpreter")
    write_stamp(folder, stamp)
    if run_visibly([sys.executable, "-m", "venv", str(folder)]):
        uv = shutil.which("uv")
        options = ["venv", "--allow-existing", "--python", sys.executable, str(folder)]
        if uv is None or run_visibly([uv, *options]):
            major_minor = python_version()
            raise EnvironmentFailed(
                f"{sys.executable} can't make an environment. On Debian and Ubuntu: sudo apt "
                f"install python{major_minor}-venv. Elsewhere use a Python from python.org, or "
                "install uv."
            )
    return stamp


def take_step(name: str, python: str) -> int:
    """Installs what one step stands for.

    Returns:
        The installing program's exit status; after `OPTIONAL_MISSING` it is tried again next time.

    Raises:
        EnvironmentFailed: There is nothing to install with.
    """
    if name == "torch":
        say("Installing torch and torchvision: up to several GB, this takes minutes ...")
        front = front_end(python)
        if front is None:
            raise EnvironmentFailed(f"{python} has no pip, and there is no uv; install uv")
        where = [] if front[1:] == ("-m", "pip") else ["--python", python]
        # pip's progress bar is for people; in a log it is noise
        quiet = [] if sys.stdout.isatty() else ["--quiet"]
        return run_visibly([*front, "install", *where, *quiet, "torch", "torchvision"])
    options = ["--strict", "--tests"] if name == "pack and test tools" else ["--strict"]
    return run_visibly([python, str(INSTALL_SCRIPT), *options])


def run_quietly(command: Sequence[str]) -> bool:
    """Whether a command ends well; its output is dropped."""
    return subprocess.run(list(command), capture_output=True, check=False).returncode == 0


def starts(python: Path) -> bool:
    """Whether an interpreter starts."""
    return python.exists() and run_quietly([str(python), "-c", ""])


def read_stamp(folder: Path) -> Stamp | None:
    """What is written in an environment; None where nothing is, unfinished if unreadable."""
    try:
        text = (folder / STAMP).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return Stamp(**json.loads(text))
    except (ValueError, TypeError):
        return Stamp(working_on="its stamp")


def write_stamp(folder: Path, stamp: Stamp) -> None:
    """Replaces what is written in an environment, at once and wholly.

    Raises:
        EnvironmentFailed: It can't be written.
    """
    draft = folder / (STAMP + ".new")
    try:
        draft.write_text(json.dumps(vars(stamp)), encoding="utf-8")
        draft.replace(folder / STAMP)
    except OSError as error:
        raise EnvironmentFailed(f"{folder / STAMP} can't be written ({error})") from error
