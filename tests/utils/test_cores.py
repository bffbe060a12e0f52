from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from fastface.utils import cores
from fastface.utils.cores import usable_cores


def test_threads_are_no_more_than_the_cores_this_process_may_use(monkeypatch):
    assert 0 <= usable_cores() <= (os.cpu_count() or 1)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_cores() == 0


@pytest.mark.parametrize(
    ("features", "bf16", "int8"),
    [
        (set(), False, False),
        ({"avx2", "avx512_f"}, False, False),
        ({"avx_vnni"}, False, True),
        ({"avx512_vnni", "avx512_bf16"}, True, True),
        ({"amx_bf16", "amx_int8"}, True, True),
    ],
)
def test_cheap_arithmetic_needs_instructions_for_it(monkeypatch, features, bf16, int8):
    monkeypatch.setattr(cores, "cpu_features", lambda: frozenset(features))
    assert (cores.why_not_native("bf16") is None) == bf16
    assert (cores.why_not_native("int8") is None) == int8


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="Linux lists a CPU's instructions")
def test_torch_and_linux_know_the_same_instructions(monkeypatch):
    named = {"avx2", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8"}
    by_torch = cores.cpu_features() & named
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    cores.cpu_features.cache_clear()
    try:
        assert cores.cpu_features() & named == by_torch
    finally:
        cores.cpu_features.cache_clear()
