"""What fails once for want of room, memory or a package is tried again at the next start."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("safetensors")

from fastface.backends.base import GraphBackend
from fastface.backends.onnx_graphs import (
    batched as prepared,
)
from fastface.backends.onnx_graphs import (
    cpu_optimized as tuned,
)
from fastface.backends.onnx_graphs import (
    equivalence as trial,
)
from fastface.backends.onnx_graphs import (
    folded_weights as converted,
)
from fastface.backends.onnx_graphs import (
    graph,
    graph_cache,
    margin_trial,
)
from fastface.backends.onnx_graphs import (
    margin_graphs as margins,
)
from fastface.backends.onnx_graphs.cache_entries import read_entry
from fastface.backends.placement import Placement
from fastface.backends.registry import all_backends, get_backend
from fastface.backends.sessions.unbatched_adapter import UnbatchedAdapter
from fastface.utils import host
from fastface.utils.checksummed_file import read_header
from fastface.utils.errors import BackendUnavailable, OutOfMemory
from fastface.utils.packs import ModelPack
from tests.backends.small_pack import BACKENDS, answers, are_same, make_small_pack

Patch = Callable[[pytest.MonkeyPatch], object]


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def out_of_memory_on_trial(patched: pytest.MonkeyPatch) -> None:
    """A runtime opens a graph and has no memory left to run it."""
    run = raising(OutOfMemory("detector.onnx can't be run: Failed to allocate memory"))
    for module in (prepared, margin_trial):
        patched.setattr(module, "trial_runner", lambda *_: run)


def broken_write(patched: pytest.MonkeyPatch) -> None:
    """The disk fills up in the middle of a file."""
    write_bytes = Path.write_bytes

    def write_half(path: Path, content: bytes) -> int:
        write_bytes(path, content[: len(content) // 2])
        raise full()

    patched.setattr(Path, "write_bytes", write_half)
    # What safetensors writes with is not Python.
    import safetensors

    error = safetensors.SafetensorError("I/O error: No space left on device")
    patched.setattr("safetensors.numpy.save_file", raising(error))


STAGES: dict[str, Patch] = {
    "no cache folder": lambda patched: patched.setattr(host, "cache_folder", raising(full())),
    "disk full at once": lambda patched: patched.setattr(graph_cache, "replacing", raising(full())),
    "disk full within a file": broken_write,
    "disk full for the entry": lambda patched: patched.setattr(
        graph_cache, "write_entry", raising(full())
    ),
    "disk full when it is made sure of": lambda patched: patched.setattr(
        "fastface.utils.files.os.fsync", raising(full())
    ),
    "disk that fails when read": lambda patched: patched.setattr(
        graph_cache, "file_sha256", raising(OSError(errno.EIO, "Input/output error"))
    ),
    "memory short for reading": lambda patched: [
        patched.setattr(module, "read_model", raising(MemoryError()))
        for module in (prepared, tuned, margins)
    ],
    "memory short for rewriting": lambda patched: [
        patched.setattr(prepared, "with_batch_axis", raising(MemoryError())),
        patched.setattr(tuned, "write_out_prelu", raising(MemoryError())),
        patched.setattr(margins, "refilled_at", raising(MemoryError())),
        patched.setattr(converted, "_write", raising(MemoryError())),
    ],
    "memory short on trial": out_of_memory_on_trial,
    "memory short for comparing": lambda patched: [
        patched.setattr(module, "difference", raising(MemoryError()))
        for module in (prepared, margin_trial)
    ],
    "onnx fails": lambda patched: patched.setattr(
        margins, "refilled_at", raising(ValueError("something in onnx"))
    ),
}


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> ModelPack:
    return make_small_pack(tmp_path_factory.mktemp("pack"))


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    if reason := all_backends()[request.param].why_unavailable():
        pytest.skip(reason)
    return request.param


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(host, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(host, "temporary_folder", lambda: tmp_path / "tmp")
    graph_cache._caches.clear()
    yield tmp_path / "cache" / "graphs"
    graph_cache._caches.clear()


def kept(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*-v*")}


def refusals(folder: Path) -> list[str]:
    found = []
    for path in folder.glob("*.entry"):
        read = read_entry(folder, read_header(path)["key"])
        assert read is not None
        found += [read[0].unfit] if read[0].unfit else []
    return found


@pytest.fixture(scope="module")
def usual(
    pack: ModelPack, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[list, set[str]]]:
    """What a backend answers and keeps where nothing fails."""
    found: dict[str, tuple[list, set[str]]] = {}

    def of(backend: str) -> tuple[list, set[str]]:
        if backend not in found:
            folder = tmp_path_factory.mktemp("usual")
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(host, "cache_folder", lambda: folder)
                found[backend] = answers(pack, backend), kept(folder / "graphs")
        return found[backend]

    return of


@pytest.mark.parametrize("stage", STAGES)
def test_the_next_start_knows_nothing_of_it(
    backend: str,
    stage: str,
    pack: ModelPack,
    folder: Path,
    usual: Callable[[str], tuple[list, set[str]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected, files = usual(backend)
    with pytest.MonkeyPatch.context() as patched:
        STAGES[stage](patched)
        with caplog.at_level(logging.INFO, "FastFace"):
            assert are_same(answers(pack, backend), expected)
    assert "graph cache" in caplog.text or "tried again next time" in caplog.text
    assert "download" not in caplog.text
    assert not refusals(folder) and not list(folder.glob("*.tmp"))
    graph_cache._caches.clear()
    assert are_same(answers(pack, backend), expected) and kept(folder) >= files


def test_a_full_disk_is_noted_where_it_makes_a_difference(
    backend: str, pack: ModelPack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_cache, "replacing", raising(full()))
    engine = get_backend(backend)
    assert isinstance(engine, GraphBackend)
    session = engine.open_session(pack.model("recognition"), Placement("cpu", "fp32"))
    assert isinstance(session, UnbatchedAdapter)
    note = session.runs_on.note
    assert "runs image by image" in note and "No space left" in note and "tried again" in note


def test_a_missing_package_is_not_believed_for_good(
    pack: ModelPack, folder: Path, usual: Callable[[str], tuple[list, set[str]]]
) -> None:
    pytest.importorskip("onnxruntime")
    expected, files = usual("onnxruntime")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(graph, "import_onnx", raising(BackendUnavailable("needs the onnx package")))
        patched.setitem(sys.modules, "onnx", None)
        assert are_same(answers(pack, "onnxruntime"), expected)
        session = get_backend("onnxruntime").open_session(  # type: ignore[attr-defined]
            pack.model("recognition"), Placement("cpu", "fp32")
        )
        assert "needs the onnx package" in session.runs_on.note
    assert not kept(folder)
    graph_cache._caches.clear()
    assert are_same(answers(pack, "onnxruntime"), expected) and kept(folder) >= files


def test_answers_that_differ_are(pack: ModelPack, folder: Path, monkeypatch) -> None:
    """The other side of it: a difference is no passing trouble."""
    difference = trial.difference
    monkeypatch.setattr(prepared, "difference", lambda *_: "output 0 by 0.5")
    model = pack.model("recognition")
    first = prepared.batched_graph(model)
    monkeypatch.setattr(prepared, "difference", difference)
    graph_cache._caches.clear()
    assert prepared.batched_graph(model) == first and not first.takes_batches
    assert refusals(folder) == ["a batch differs from single images: output 0 by 0.5"]


@pytest.mark.parametrize("text", ["std::bad_alloc", "Failed to allocate memory for requested"])
def test_a_runtime_without_memory_is_told_from_one_that_can_not_run_a_graph(
    text: str, pack: ModelPack, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = pack.model("recognition")
    run = trial.trial_runner(model.path, model)
    monkeypatch.setattr(runtime.InferenceSession, "run", raising(RuntimeError(text)))
    with pytest.raises(OutOfMemory, match=r"recogniser\.onnx can't be run"):
        run(np.zeros((1, 3, 112, 112), np.float32))
    monkeypatch.setattr(runtime.InferenceSession, "__init__", raising(RuntimeError(text)))
    with pytest.raises(OutOfMemory):
        trial.trial_runner(model.path, model)
