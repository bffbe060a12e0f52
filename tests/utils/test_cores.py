from __future__ import annotations

import os

from fastface.utils.cores import usable_cores


def test_threads_are_no_more_than_the_cores_this_process_may_use(monkeypatch):
    assert 0 <= usable_cores() <= (os.cpu_count() or 1)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_cores() == 0
