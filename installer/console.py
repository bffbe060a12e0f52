"""What the commands print, and how they run other programs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def say(text: str = "") -> None:
    """Prints a line at once, so that it stands before the output of the next program."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in aligned columns; the last column is left as long as it is."""
    if not rows:
        return ""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)][:-1]
    return "\n".join(
        "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[-1]])
        for row in rows
    )


def command_line(command: Sequence[str]) -> str:
    """A command as it can be pasted into the platform's shell."""
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)


def run_visibly(
    command: Sequence[str],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Runs a program whose output goes where ours goes.

    Args:
        command: The program and its arguments.
        folder: Its working directory; ours if None.
        environment: Variables to set on top of ours.

    Returns:
        Its exit status; 127 when it can't be started, as in a shell.
    """
    sys.stdout.flush()
    try:
        return subprocess.run(
            list(command), cwd=folder, env={**os.environ, **(environment or {})}, check=False
        ).returncode
    except OSError as error:
        say(f"can't run {command[0]}: {error}")
        return 127
