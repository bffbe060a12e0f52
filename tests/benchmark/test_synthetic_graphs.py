"""Stand-ins have the layers of the released networks, and every engine runs them alike."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.onnx_graphs.batch_axis import with_batch_axis
from fastface.backends.onnx_graphs.graph import graph_of, read_model
from fastface.backends.onnx_graphs.network import Network
from fastface.benchmark.synthetic_models import packs as stand_ins
from fastface.benchmark.synthetic_models.detectors import ScrfdLayers, scrfd
from fastface.benchmark.synthetic_models.heads import gender_age
from fastface.benchmark.synthetic_models.packs import SYNTHETIC_PACKS
from fastface.benchmark.synthetic_models.recognizers import iresnet
from fastface.benchmark.synthetic_models.samples import photo_like
from fastface.utils.packs.known import KNOWN_PACKS
from fastface.utils.progress import heard_by
from tests.backends.onnx_graphs.small_graphs import in_onnxruntime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

#: Bytes of the released files.
RELEASED_BYTES = {
    "scrfd_10g_bnkps.onnx": 16_923_827,
    "det_500m.onnx": 2_524_817,
    "glintr100.onnx": 260_665_334,
    "w600k_r50.onnx": 174_383_860,
    "w600k_mbf.onnx": 13_616_099,
    "1k3d68.onnx": 143_607_619,
    "2d106det.onnx": 5_030_888,
    "genderage.onnx": 1_322_532,
}
#: Of each file: its pack, multiplications in thousands of millions (SCRFD at 640 x 480), and the
#: largest relative difference between engines.
GRAPHS = {
    "scrfd_10g_bnkps.onnx": ("antelopev2", 10.0, 1e-4),
    "det_500m.onnx": ("buffalo_s", 0.55, 1e-4),
    "glintr100.onnx": ("antelopev2", 12.1, 1e-3),
    "w600k_mbf.onnx": ("buffalo_s", 0.92, 1e-4),
    "1k3d68.onnx": ("buffalo_s", 3.05, 1e-4),
    "2d106det.onnx": ("buffalo_s", 0.112, 1e-4),
    "genderage.onnx": ("buffalo_s", 0.00793, 1e-4),
}
#: Files of which not every layer is known.
GUESSED = ("w600k_mbf.onnx", "genderage.onnx")
RECOGNITION = ("glintr100.onnx", "w600k_mbf.onnx")


def images_for(model: Any, size_hw: tuple[int, int]) -> np.ndarray:
    """Two pictures and noise, as the network expects them."""
    images = np.random.default_rng(1).uniform(0, 255, (3, 3, *size_hw)).astype(np.float32)
    images[:2] = photo_like(5, max(size_hw)).numpy()[3:, :, : size_hw[0], : size_hw[1]]
    return images if model.graph.input[0].name == "data" else (images - 127.5) / 127.5


def test_making_a_pack_can_be_stopped(tmp_path: Path) -> None:
    """The benchmark node makes one where none is installed."""

    class Stop(BaseException):
        pass

    asked = 0

    def listener(_done: float) -> None:
        nonlocal asked
        asked += 1
        if asked == 60:
            raise Stop

    with heard_by(listener), pytest.raises(Stop):
        stand_ins.make_synthetic_pack("buffalo_s", tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("name", SYNTHETIC_PACKS)
def test_every_file_of_the_pack_has_a_graph(name: str) -> None:
    assert set(KNOWN_PACKS[name].files) <= set(stand_ins._GRAPHS)


@pytest.mark.parametrize("file", GRAPHS)
def test_as_large_as_the_released_file(stand_in_packs: dict[str, Path], file: str) -> None:
    size = (stand_in_packs[GRAPHS[file][0]] / file).stat().st_size
    assert abs(size / RELEASED_BYTES[file] - 1) < (0.025 if file in GUESSED else 0.001)


def test_iresnet50_as_large_as_the_released_file() -> None:
    size = iresnet("w600k_r50", (3, 4, 14, 3), "683").ByteSize()
    assert abs(size / RELEASED_BYTES["w600k_r50.onnx"] - 1) < 0.001


def test_scrfd_has_the_nodes_and_weights_of_a_released_one(test_data: Path) -> None:
    released = onnx.load(test_data / "models" / "scrfd_2.5g_bnkps.onnx")
    made = scrfd(
        ScrfdLayers(
            name="scrfd_2.5g_bnkps",
            stem=24,
            stage_blocks=(3, 5, 3, 2),
            channels=(24, 48, 48, 80),
            neck=24,
            head_layers=2,
            head=64,
            outputs=tuple(value.name for value in released.graph.output),
        )
    )

    def nodes(model: Any) -> list[str]:
        return [node.op_type for node in model.graph.node if node.op_type != "Constant"]

    def kernels(model: Any) -> Counter:
        return Counter(tuple(t.dims) for t in model.graph.initializer if len(t.dims) == 4)

    assert nodes(made) == nodes(released)
    assert kernels(made) == kernels(released)


@pytest.mark.parametrize("file", GRAPHS)
def test_engines_agree_and_a_batch_is_its_images(
    stand_in_packs: dict[str, Path], file: str
) -> None:
    pack, billions, tolerance = GRAPHS[file]
    model = read_model(stand_in_packs[pack] / file)
    side = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    images = images_for(model, (side, side) if side else (480, 640))
    batched = with_batch_axis(model)

    singles = [in_onnxruntime(model, images[place : place + 1]) for place in range(3)]
    batch = in_onnxruntime(batched, images)
    network = Network(graph_of(batched, file)).eval()
    watch = Watch(network)
    with torch.inference_mode():
        native = network(torch.from_numpy(images))

    for number, outputs in enumerate(zip(*singles, strict=True)):
        want = np.stack([output.reshape(batch[number].shape[1:]) for output in outputs])
        largest = np.abs(want).max()
        assert np.abs(batch[number] - want).max() <= 1e-5 * largest
        assert np.abs(native[number].numpy() - want).max() <= tolerance * largest
    assert watch.multiplications / 3e9 == pytest.approx(billions, rel=0.01)
    assert watch.largest < 1e4  # float16 ends at 65504
    if file in RECOGNITION:
        lengths = np.linalg.norm(batch[0], axis=1, keepdims=True)
        assert (lengths[:2] < 40).all()  # as of released networks
        first, second, noise = batch[0] / lengths
        assert first @ second < 0.9
        assert first @ noise < 0.9


@pytest.mark.parametrize(
    "file", ["det_500m.onnx", "w600k_mbf.onnx", "2d106det.onnx", "genderage.onnx"]
)
def test_half_precision_will_do(stand_in_packs: dict[str, Path], file: str) -> None:
    model = read_model(stand_in_packs["buffalo_s"] / file)
    side = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value or 320
    image = torch.from_numpy(images_for(model, (side, side))[:1])
    network = Network(graph_of(model, file)).eval()
    with torch.inference_mode():
        full = network(image)
        half = network.half()(image.half())
    for want, got in zip(full, half, strict=True):
        assert torch.cosine_similarity(want.flatten(), got.float().flatten(), 0) > 0.9999


class Watch:
    """Counts multiplications and notes the largest value while a network runs."""

    def __init__(self, network: Network) -> None:
        self.multiplications = 0
        self.largest = 0.0
        for layer in network.layers:
            layer.register_forward_hook(self._after)

    def _after(self, layer: torch.nn.Module, inputs: tuple, output: Any) -> None:
        if not isinstance(output, torch.Tensor) or not output.is_floating_point():
            return
        self.largest = max(self.largest, float(output.abs().max()))
        weight = getattr(layer, "weight", None)
        if weight is not None and weight.ndim > 1:
            self.multiplications += output.numel() * weight[0].numel()


def test_the_same_weights_every_time() -> None:
    assert gender_age().SerializeToString() == gender_age().SerializeToString()
