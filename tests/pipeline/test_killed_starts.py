"""A start that is killed leaves nothing half done, and nothing behind after the next one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from install import ROOT


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_the_next_start_finds_everything_in_order():
    for module in ("onnx", "onnxruntime", "safetensors"):
        pytest.importorskip(module)
    # In a process of its own: this one has threads, which forks can't take along.
    command = [sys.executable, "-m", "tests.pipeline.killed_starts", "--kills", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 corrupt; 0 wrong; 0 left behind" in done.stdout
