"""Times, stages, copies and operations: each figure against what it must be."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fastface.benchmark.process_memory import MemoryUse
from fastface.benchmark.roofline import matmul_rate, operations
from fastface.benchmark.stage_shares import REST, StageClock, stage_shares
from fastface.benchmark.synthetic_models.packs import make_synthetic_pack
from fastface.benchmark.timing import calls_a_turn, ratios, summary, timed
from fastface.benchmark.transfers import bytes_to_host, count_copies
from fastface.utils.metrics import stage
from fastface.utils.packs.read import read_pack

CPU = torch.device("cpu")


def test_summary_is_of_all_calls_and_ratios_are_made_round_by_round():
    figures = summary([[1.0, 2.0], [3.0], [4.0, 5.0]])
    assert (figures["median"], figures["q25"], figures["q75"]) == (3, 2, 4)
    assert figures["calls"] == 5 and figures["p95"] == pytest.approx(4.8)
    # A machine that is twice as slow in the second round changes no ratio.
    assert ratios([[4.0], [8.0]], [[2.0], [4.0]]) == {"median": 2, "q25": 2, "q75": 2}


@pytest.mark.parametrize(("seconds", "calls"), [(1.0, 1), (0.005, 4), (1e-6, 20), (0.0, 20)])
def test_short_calls_are_repeated(seconds: float, calls: int):
    assert calls_a_turn(seconds) == calls


def test_timed_calls_once():
    done: list[int] = []
    seconds, on_device = timed(lambda: done.append(1), CPU)
    assert done == [1] and seconds > 0 and on_device is None


def staged() -> None:
    with stage("outer"):
        time.sleep(0.02)
        with stage("inner"):
            time.sleep(0.06)
    time.sleep(0.02)


def test_the_time_of_a_stage_inside_another_is_its_own():
    seconds = StageClock(CPU).seconds(staged)
    assert list(seconds) == [REST, "outer", "inner"]
    assert seconds["inner"] >= 0.06 and seconds["outer"] >= 0.02 and seconds[REST] >= 0.02
    assert seconds["outer"] < seconds["inner"]


def test_shares_add_up_and_nothing_marked_is_nothing_shown():
    shares = stage_shares(staged, CPU, calls=2)
    assert list(shares) == ["outer", "inner", REST] and sum(shares.values()) == pytest.approx(1)
    assert stage_shares(lambda: time.sleep(0.001), CPU) == {}


def test_a_stage_that_raises_lets_the_error_through_and_the_next_run_is_whole():
    clock = StageClock(CPU)

    def broken() -> None:
        with stage("broken"):
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        clock.seconds(broken)
    assert list(clock.seconds(lambda: None)) == [REST]


def test_only_copies_to_the_host_are_counted():
    trace = {
        "traceEvents": [
            {"name": "Memcpy DtoH (Device -> Pageable)", "args": {"bytes": 400}},
            {"name": "Memcpy DtoH (Device -> Pinned)", "args": {"bytes": 100}},
            {"name": "Memcpy HtoD (Pageable -> Device)", "args": {"bytes": 9999}},
            {"name": "Memcpy DtoD (Device -> Device)", "args": {"bytes": 9999}},
            {"name": "aten::copy_"},
        ]
    }
    assert count_copies(trace) == {"total": 500, "largest": 400, "copies": 2}


def test_on_the_cpu_there_is_no_copy_to_count():
    assert bytes_to_host(lambda: None, CPU) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_copies_to_the_host_on_a_gpu():
    device = torch.device("cuda")
    pixels = torch.zeros(1000, dtype=torch.uint8, device=device)
    assert bytes_to_host(lambda: pixels.cpu(), device) == {
        "total": 1000,
        "largest": 1000,
        "copies": 1,
    }
    assert bytes_to_host(lambda: pixels + 1, device) == {"total": 0, "largest": 0, "copies": 0}


def test_memory_that_was_taken_is_seen_even_when_it_was_given_back():
    use = MemoryUse(CPU)
    np.ones(200_000_000, np.uint8).sum()
    added = use.added()
    assert added["ram_bytes"] is not None and added["vram_bytes"] is None
    # The process may have had more before than it has now.
    assert 0 <= added["ram_bytes"] < 4e9


@pytest.fixture(scope="module")
def buffalo_s(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_synthetic_pack("buffalo_s", tmp_path_factory.mktemp("packs"))


def operations_by_shapes(file: Path, size: int) -> int:
    """Convolutions and products counted from the shapes that ONNX Runtime really computes."""
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    model = onnx.load(str(file))
    nodes = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=node.output[0]) for node in nodes)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    zeros = np.zeros((1, 3, size, size), np.float32)
    values = session.run(None, {session.get_inputs()[0].name: zeros})
    weights = {
        tensor.name: numpy_helper.to_array(tensor).shape for tensor in model.graph.initializer
    }
    total = 0
    for node, value in zip(nodes, values, strict=True):
        kernel = weights[node.input[1]]
        # Each number of a convolution is a sum over its kernel, of a product over one side.
        total += value.size * (int(np.prod(kernel[1:])) if node.op_type == "Conv" else min(kernel))
        assert node.op_type == "Conv" or kernel[0] == kernel[1]
    return 2 * total


@pytest.mark.parametrize(("task", "size"), [("detection", 640), ("recognition", 112)])
def test_operations_are_those_of_the_graph(buffalo_s: Path, task: str, size: int):
    model = read_pack("buffalo_s", buffalo_s).model(task)
    assert operations(model, (size, size)) == operations_by_shapes(model.path, size) > 1e8


def test_a_rate_is_a_number_of_operations_a_second():
    assert matmul_rate(CPU, "fp32") > 1e8
