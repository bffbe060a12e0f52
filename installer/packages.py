"""Calls pip, or uv where there is no pip, so that nothing already installed moves."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .console import run_visibly
from .machine import Installed

#: Never start a compiler in somebody's ComfyUI: what has no wheel is reported instead.
WHEELS_ONLY = ("--only-binary", ":all:")


def constraint_lines(installed: Installed, asked_for: Iterable[str]) -> list[str]:
    """Pins everything installed, so that pip adds packages but moves none.

    Not torch and its kin alone: a newer protobuf for `onnx`, say, breaks other packs.

    Args:
        installed: What is there.
        asked_for: Canonical names that pip is asked to install or upgrade: these stay free.

    Returns:
        The lines of a constraint file, sorted.
    """
    free = set(asked_for)
    return sorted(
        f"{name}=={version}"
        for name, version in installed.distributions.items()
        # pip refuses the whole file over one version that is no version
        if name not in free and re.fullmatch(r"v?\d[A-Za-z0-9.!+_-]*", version)
    )


@contextmanager
def constraint_file(lines: Sequence[str]) -> Iterator[Path]:
    """A file with these lines for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="fastface-") as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield path


def front_end(python: str) -> tuple[str, ...] | None:
    """How to install into an interpreter: its own pip, else uv, else None."""
    if pip_works(python):
        return (python, "-m", "pip")
    uv = shutil.which("uv")
    return (uv, "pip") if uv else None


def pip_works(python: str) -> bool:
    """Whether an interpreter has a pip."""
    try:
        answer = subprocess.run(
            [python, "-c", "import pip"], capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


def install_command(
    front: Sequence[str],
    requirements: Sequence[str],
    python: str = sys.executable,
    constraints: str | None = None,
    dependencies: bool = True,
    quiet: bool = True,
    again: bool = False,
) -> list[str]:
    """The command that installs packages.

    Args:
        front: From `front_end`.
        requirements: What to install.
        python: The interpreter to install into; pip knows it already, uv has to be told.
        constraints: Path of a constraint file.
        dependencies: Whether what the packages ask for comes along.
        quiet: Whether progress is left out; errors are always shown.
        again: Whether what pip has on record is installed nevertheless.
    """
    with_pip = tuple(front[1:]) == ("-m", "pip")
    command = [*front, "install"]
    command += ["--disable-pip-version-check"] if with_pip else ["--python", python]
    command += WHEELS_ONLY
    if quiet:
        command += ["--quiet"]
    if constraints:
        command += ["--constraint", constraints]
    if not dependencies:
        command += ["--no-deps"]
    if again:
        command += ["--force-reinstall" if with_pip else "--reinstall"]
    return [*command, *requirements]


def install(
    front: Sequence[str],
    requirements: Sequence[str],
    installed: Installed,
    names: Iterable[str],
    dependencies: bool = True,
    again: bool = False,
) -> bool:
    """Installs packages into the running interpreter, with everything already installed pinned.

    Args:
        front: From `front_end`.
        requirements: What to install.
        installed: What is there.
        names: The packages' canonical names.
        dependencies: Whether what the packages ask for comes along.
        again: Whether what pip has on record is installed nevertheless.

    Returns:
        Whether it worked; the reason, if not, has been printed by pip.
    """
    with constraint_file(constraint_lines(installed, names)) as path:
        command = install_command(
            front, requirements, constraints=str(path), dependencies=dependencies, again=again
        )
        return run_visibly(command) == 0
