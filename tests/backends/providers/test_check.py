"""Which provider took a session, and what is said when it is not the one that was asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastface.backends.placement import RunsOn
from fastface.backends.providers.check import (
    Circumstances,
    conflict,
    explain_fallback,
    installed_distributions,
    read_assignment,
    resolve_actual_provider,
)
from fastface.backends.providers.provider_table import CPU, row_of_device

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
PLAIN, GPU = ("onnxruntime", "1.31.1"), ("onnxruntime-gpu", "1.31.1")


def install(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), ()),
        (("onnx", "numpy", "onnxconverter-common"), ()),
        (("onnxruntime",), ("onnxruntime",)),
        (("onnxruntime_gpu", "onnxruntime"), ("onnxruntime", "onnxruntime-gpu")),
        (("onnxruntime", "onnxruntime-ep-nv-tensorrt-rtx-cu13"), ("onnxruntime",)),
        (("onnxruntime", "onnxruntime-extensions", "onnxruntime-genai-cuda"), ("onnxruntime",)),
        (("ort-nightly-gpu",), ("ort-nightly-gpu",)),
    ],
)
def test_installed_distributions_are_those_that_bring_the_module(tmp_path, names, found):
    for name in names:
        install(tmp_path, name, "1.2.3")
    (tmp_path / "~nnxruntime-1.0.dist-info").mkdir()
    assert installed_distributions((str(tmp_path),)) == tuple((name, "1.2.3") for name in found)


def test_a_hidden_copy_is_no_second_distribution(tmp_path):
    install(tmp_path / "first", "onnxruntime", "1.31.1")
    install(tmp_path / "second", "onnxruntime", "1.20.0")
    path = (str(tmp_path / "first"), str(tmp_path / "second"))
    assert installed_distributions(path) == (("onnxruntime", "1.31.1"),)


@pytest.mark.parametrize(
    ("distributions", "wanted", "kept"),
    [
        ((), None, None),
        ((PLAIN,), None, None),
        ((PLAIN, GPU), None, "onnxruntime-gpu"),
        ((PLAIN, GPU), "onnxruntime", "onnxruntime"),
        ((PLAIN, ("onnxruntime-directml", "1.24.1"), GPU), "onnxruntime-gpu", "onnxruntime-gpu"),
    ],
)
def test_conflict_names_them_all_and_mends_it(distributions, wanted, kept):
    said = conflict(distributions, wanted)
    if kept is None:
        assert said is None
        return
    assert all(f"{name} {version}" in said for name, version in distributions)
    uninstall, _, rest = said.partition(" && ")
    assert uninstall.endswith(" ".join(["uninstall -y", *(name for name, _ in distributions)]))
    assert rest.endswith(f"-m pip install {kept}")


LISTED = frozenset({CUDA, CPU})


@pytest.mark.parametrize(
    ("device", "facts", "said", "unsaid"),
    [
        ("cuda", Circumstances(LISTED), ["gave no reason"], ["pip"]),
        (
            "cuda",
            Circumstances(frozenset({CPU}), (PLAIN,)),
            [
                "onnxruntime 1.31.1 is built without it",
                "uninstall -y onnxruntime",
                "install onnxruntime-gpu",
            ],
            ["at once"],
        ),
        (
            "cuda",
            Circumstances(frozenset({CPU})),
            ["this onnxruntime is built without it", "install onnxruntime-gpu"],
            ["uninstall"],
        ),
        (
            "cuda",
            Circumstances(frozenset({CPU}), (PLAIN, GPU)),
            ["installed at once", "uninstall -y onnxruntime onnxruntime-gpu", "install onnxrun"],
            ["built without"],
        ),
        (
            "cuda",
            Circumstances(LISTED, (GPU,), missing_library="libcurand.so.10: cannot open"),
            ["libcurand.so.10: cannot open", 'install "onnxruntime-gpu[cuda,cudnn]"'],
            ["uninstall"],
        ),
        ("cuda", Circumstances(LISTED, (GPU,), missing_gpu="no driver"), ["no driver"], ["pip"]),
        (
            "cuda",
            Circumstances(LISTED, (PLAIN, GPU), missing_gpu="no driver", missing_library="lib"),
            ["no driver", "do not load (lib)", "installed at once"],
            [],
        ),
        ("cuda", Circumstances(LISTED, failure="CUDA failure 35"), ["CUDA failure 35"], ["pip"]),
        (
            "directml",
            Circumstances(frozenset({CPU}), (PLAIN,), system="Linux"),
            ["Windows only, and this is Linux"],
            ["pip"],
        ),
        (
            "nvtensorrtrtx",
            Circumstances(frozenset({CPU}), (PLAIN,)),
            ["plugin, which is not installed", "install onnxruntime-ep-nv-tensorrt-rtx"],
            ["uninstall"],
        ),
        (
            "nvtensorrtrtx",
            Circumstances(frozenset({CPU}), (PLAIN,), failure="no libcuda.so.1"),
            ["its plugin does not load: no libcuda.so.1"],
            ["not installed"],
        ),
    ],
)
def test_a_fallback_is_explained_with_its_remedy(device, facts, said, unsaid):
    text = explain_fallback(row_of_device(device), CPU, facts)
    assert all(part in text for part in said), text
    assert not any(part in text for part in unsaid), text


def test_read_assignment_counts_operators_by_provider():
    def part(provider, *operators):
        nodes = [SimpleNamespace(op_type=operator) for operator in operators]
        return SimpleNamespace(ep_name=provider, get_nodes=lambda: nodes)

    parts = [part(CUDA, "Conv", "Relu"), part(CPU, "Shape"), part(CUDA, "Conv")]
    session = SimpleNamespace(get_provider_graph_assignment_info=lambda: parts)
    assert read_assignment(session) == {(CUDA, "Conv"): 2, (CUDA, "Relu"): 1, (CPU, "Shape"): 1}
    assert read_assignment(SimpleNamespace()) is None


@pytest.mark.parametrize(
    ("asked", "providers", "assignment", "where", "share", "note"),
    [
        ("cuda", [CUDA, CPU], None, ("cuda:1", CUDA), None, ""),
        ("cpu", [CPU], None, ("cpu", CPU), 1.0, ""),
        ("cpu", [CPU], {(CPU, "Conv"): 4}, ("cpu", CPU), 1.0, ""),
        ("cuda", [CUDA, CPU], {(CUDA, "Conv"): 4}, ("cuda:1", CUDA), 1.0, ""),
        (
            "cuda",
            [CUDA, CPU],
            {(CUDA, "Conv"): 3, (CPU, "Shape"): 1},
            ("cuda:1", CUDA),
            0.75,
            "",
        ),
        (
            "cuda",
            [CUDA, CPU],
            {(CUDA, "Conv"): 3, (CPU, "Shape"): 1, (CPU, "PRelu"): 1},
            ("cuda:1", CUDA),
            0.6,
            "2 of 5 nodes run on the CPU (1 Shape, 1 PRelu)",
        ),
        # Listed first, and yet no node is its own.
        ("cuda", [CUDA, CPU], {(CPU, "Conv"): 4}, ("cpu", CPU), 1.0, "the runtime says: X"),
        ("cuda", [CPU], {(CPU, "Conv"): 4}, ("cpu", CPU), 1.0, "the runtime says: X"),
        (
            "tensorrt",
            [CUDA, CPU],
            {(CUDA, "Conv"): 4},
            ("cuda:1", CUDA),
            1.0,
            "the runtime says: X",
        ),
        (
            "tensorrt",
            [TENSORRT, CUDA, CPU],
            {(TENSORRT, "Conv"): 3, (CUDA, "NonZero"): 1},
            ("tensorrt:1", TENSORRT),
            0.75,
            "",
        ),
    ],
)
def test_found_out(asked, providers, assignment, where, share, note):
    facts = Circumstances(frozenset({CUDA, TENSORRT, CPU}), failure="X")
    counted = None if assignment is None else Counter(assignment)
    runs_on = resolve_actual_provider(row_of_device(asked), 1, providers, counted, facts)
    assert runs_on == RunsOn(*where, share, runs_on.note)
    assert (note in runs_on.note) if note else not runs_on.note
