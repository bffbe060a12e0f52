"""A process that ends at any moment ends well: `benchmarks/exits.py` with a few processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "exits.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_processes_end_well_while_models_are_loaded_used_and_released(test_data: Path) -> None:
    command = [sys.executable, str(_SCRIPT), "--pack", str(test_data / "models"), "--count", "6"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [(row[2], row[3], row[4]) for row in rows] == [("1", "0", "0")] * 6
