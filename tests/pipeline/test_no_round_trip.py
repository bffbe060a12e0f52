"""On a GPU no pixel comes back to the host, and the host waits once.

Where there is no GPU, the whole way from images to embeddings is walked with tensors that have a
device but no memory: whatever would have to wait for the device fails there, and every transfer is
seen. Where there is one, the driver itself is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from fastface.backends.base import Backend
from fastface.backends.interfaces import DetectionOptions, Detector, Head
from fastface.backends.onnx_graphs.batch_axis import with_batch_axis
from fastface.backends.onnx_graphs.graph import graph_of
from fastface.backends.onnx_graphs.margin_points import MarginPoint, best_margin_points
from fastface.backends.onnx_graphs.margin_rewrite import features_at, refilled_at
from fastface.backends.onnx_graphs.network import Network
from fastface.backends.pending import read_together
from fastface.backends.placement import Placement, RunsOn
from fastface.backends.sessions.margin_session import MarginSession
from fastface.benchmark.synthetic_models.detectors import SCRFD_500M, scrfd
from fastface.benchmark.synthetic_models.heads import gender_age, landmarks_2d
from fastface.benchmark.synthetic_models.recognizers import mobile_face_net
from fastface.models.opening import open_task
from fastface.pipeline import model_batches
from fastface.pipeline.analyzer import Analyzer
from fastface.utils.images import Images
from fastface.utils.packs import ModelFile, ModelPack
from fastface.utils.pose import head_pose

pytest.importorskip("onnx")

#: A number no machine has, so that nothing cached for it meets a real card.
NOWHERE = torch.device("cuda", 7)
TASKS = ("recognition", "landmark_2d_106", "landmark_3d_68", "genderage")
#: What may go up: numbers of images and taps of a resize, but no picture.
MOST_BYTES_UP = 40_000


class NetworkSession:
    """A network as a `Session`, with nothing around it."""

    def __init__(self, network: Callable[..., Any], device: torch.device) -> None:
        self.network = network
        self.device = device
        self.runs_on = RunsOn(str(device), "torch")

    def run(self, x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        return self.network(x, *more)


def mesh(x: Tensor) -> tuple[Tensor, ...]:
    """As much as the released landmark network gives: a mesh of 1103 points."""
    return (x.flatten(1)[:, :3309].float(),)


def network_of(model: Any) -> Network:
    return Network(graph_of(model, model.graph.name)).eval()


class Detecting:
    """A detector's network, and what skips its margins."""

    def __init__(self, whole: Any) -> None:
        self.points: tuple[MarginPoint, ...] = best_margin_points(graph_of(whole, "whole"))
        assert self.points
        self.along = {axis: network_of(refilled_at(whole, self.points, axis)) for axis in (2, 3)}
        self.empty = network_of(features_at(whole, self.points))
        self.whole = network_of(whole)


class Randomly(Backend):
    """Real layers with random weights, in torch, on any device."""

    name = "randomly"

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.detecting = Detecting(with_batch_axis(scrfd(SCRFD_500M)))
        self.networks: dict[str, Callable[..., Any]] = {
            "recognition": network_of(with_batch_axis(mobile_face_net("mbf", "516"))),
            "landmark_2d_106": network_of(with_batch_axis(landmarks_2d())),
            "landmark_3d_68": mesh,
            "genderage": network_of(with_batch_axis(gender_age())),
        }

    def why_unavailable(self) -> str | None:
        return None

    def devices(self) -> tuple[str, ...]:
        return (str(self.device),)

    def open(self, pack: ModelPack, task: str, placement: Placement) -> Detector | Head:
        session = (
            self._skipping_margins() if task == "detection" else self._session(self.networks[task])
        )
        return open_task(pack, pack.model(task), session)

    def _skipping_margins(self) -> MarginSession:
        networks = self.detecting
        # Opened now: their weights would be seen to go to the device.
        along = {axis: self._session(network) for axis, network in networks.along.items()}
        empty, whole = self._session(networks.empty), self._session(networks.whole)
        return MarginSession(
            along[2], networks.points, -127.5 / 128, along.__getitem__, lambda: empty, lambda: whole
        )

    def _session(self, network: Callable[..., Any]) -> NetworkSession:
        if isinstance(network, torch.nn.Module):
            network.to(self.device)
        return NetworkSession(network, self.device)


def analyzer_on(device: torch.device, tmp_path: Path) -> Analyzer:
    sides = {
        "detection": None,
        "recognition": 112,
        "landmark_2d_106": 192,
        "landmark_3d_68": 192,
        "genderage": 96,
    }
    models = []
    for task, side in sides.items():
        path = tmp_path / f"{task}.onnx"
        path.write_bytes(b"weights")
        family = "SCRFD" if task == "detection" else None
        shape = (None, 3, side, side)
        models.append(ModelFile(path, task, shape, output_shapes=((None, 512),), family=family))
    return Analyzer(ModelPack("random", tmp_path, tuple(models)), Randomly(device), Placement())


class Transfers(TorchDispatchMode):
    """Notes every operation whose result lies elsewhere than its argument."""

    def __init__(self) -> None:
        super().__init__()
        self.down: list[str] = []
        self.blocking: list[str] = []
        self.bytes_up = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = args[1] if "copy_" in str(func) else next(iter(args), None)
        if isinstance(given, Tensor) and isinstance(result, Tensor):
            if given.device.type == "cuda" and result.device.type == "cpu":
                self.down.append(f"{func} {tuple(given.shape)}")
            if given.device.type == "cpu" and result.device.type == "cuda" and given.ndim:
                self.bytes_up += given.numel() * given.element_size()
                if not kwargs.get("non_blocking"):
                    self.blocking.append(f"{func} {tuple(given.shape)}")
        return result


@pytest.mark.parametrize("images", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_the_host_waits_once_and_no_pixel_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: int, dtype: torch.dtype
):
    analyzer = analyzer_on(NOWHERE, tmp_path)
    monkeypatch.setattr(model_batches, "images_at_once", lambda *sizes: 2)
    faces_found = [[3.0] * min(2, images - start) + [1.0, 1.0] for start in range(0, images, 2)]
    reads: list[list[Tensor]] = []

    def told(tensors: list[Tensor]) -> list[list[float]]:
        reads.append(tensors)
        limits = [[0.0, 1.0] for _ in tensors[: len(tensors) - len(faces_found)]]
        return limits + faces_found

    monkeypatch.setattr(model_batches, "read_together", told)
    # The host's own constants are kept for good: they must not be made without memory.
    head_pose(torch.zeros(1, 68, 3))
    with FakeTensorMode(allow_non_fake_inputs=True), Transfers() as transfers:
        for task in ("detection", *TASKS):
            analyzer.model(task)
        transfers.bytes_up, transfers.blocking = 0, []
        pixels = torch.zeros(images, 1080, 1920, 3, device=NOWHERE).to(dtype)
        batch = Images.from_comfy(pixels)
        faces = analyzer.detect(batch, DetectionOptions(((640, 640), (128, 128))))
        described = analyzer.describe(batch, faces, TASKS)
    assert len(described) == 3 * images and described.embeddings is not None
    assert described.device == NOWHERE
    assert [tensor.device for tensor in reads[0]] == [NOWHERE] * len(reads[0])
    assert len(reads) == 1 and sum(map(len, reads[0])) < 10 * images
    assert transfers.down == []
    assert transfers.blocking == []
    assert transfers.bytes_up < MOST_BYTES_UP * images


def test_a_wait_would_be_seen():
    with FakeTensorMode(allow_non_fake_inputs=True), Transfers() as transfers:
        scores = torch.zeros(4, device=NOWHERE)
        for wait in (torch.nonzero, Tensor.max, lambda every: every[every > 0]):
            with pytest.raises(Exception, match=r"nonzero|_local_scalar_dense"):
                float(wait(scores))
        scores.cpu()
        torch.zeros(4).to(NOWHERE)
    assert len(transfers.down) == len(transfers.blocking) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")
def test_the_driver_sees_one_wait_and_no_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from torch.profiler import ProfilerActivity, profile

    device = torch.device("cuda", 0)
    analyzer = analyzer_on(device, tmp_path)
    reads = 0

    def read(tensors: list[Tensor]) -> list[list[float]]:
        nonlocal reads
        reads += 1
        torch.cuda.set_sync_debug_mode("default")
        told = read_together(tensors)
        torch.cuda.set_sync_debug_mode("error")
        return told

    monkeypatch.setattr(model_batches, "read_together", read)
    batch = Images.from_comfy(torch.rand(8, 1080, 1920, 3, device=device))
    options = DetectionOptions(threshold=0.3)

    def run() -> None:
        faces = analyzer.detect(batch, options)
        analyzer.describe(batch, faces, TASKS)

    run()
    reads = 0
    torch.cuda.set_sync_debug_mode("error")
    try:
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert reads == 1
    copied = [event.name for event in profiled.events() or () if "Memcpy DtoH" in event.name]
    assert len(copied) == 1, copied
