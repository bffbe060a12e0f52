"""What runs between two networks wakes none of torch's threads: they would slow the next one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_TASKS = Path("/proc/self/task")
#: torch starts its threads with the first operation that it shares among them. Says how many there
#: are before, after what runs between two networks, and after an operation that does wake them.
_STEPS = f"""
import os, sys
import torch
sys.path.insert(0, sys.argv[1])
import install
install.import_pack("fastface")
from fastface.utils import align, boxes

def threads():
    return len(os.listdir("{_TASKS}"))

def between_two_networks():
    random = torch.Generator().manual_seed(0)
    corner = torch.rand(1, 40, 2, generator=random) * 500
    found = torch.cat((corner, corner + 80), 2)
    present = torch.ones(1, 40, dtype=torch.bool)
    boxes.suppress(found, torch.rand(1, 40, generator=random), present, 0.4)
    matrices = align.similarity_transform(
        torch.rand(6, 5, 2, generator=random) * 100, align.arcface_template(112)
    )
    align.apply_affine(align.invert_affine(matrices), torch.rand(6, 4, 2, dtype=torch.float64))

before = threads()
between_two_networks()
asleep = threads()
torch.rand(6, 2, 2).inverse()
print(before, asleep, threads())
"""


@pytest.mark.skipif(not _TASKS.is_dir(), reason="threads are counted as Linux shows them")
def test_suppression_and_alignment_wake_no_threads():
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _STEPS, str(root)],
        env={"OMP_NUM_THREADS": "2", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, asleep, awake = map(int, done.stdout.split())
    if awake == before:
        pytest.skip("this torch shares nothing among threads")
    assert asleep == before
