"""Main memory that is short: fewer at a time, the same answers, and an error with a name at last.

Each allocation on an image's way fails in its library's own words; and, at the end, for real.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastface.backends.facenet import FacenetBackend
from fastface.backends.facenet_networks.networks import open_inception
from fastface.backends.interfaces import DetectionOptions
from fastface.backends.placement import Placement
from fastface.backends.registry import all_backends, get_backend
from fastface.backends.sessions.insightface_models import Upstream
from fastface.backends.sessions.openvino_session import OpenVinoSession
from fastface.backends.sessions.ort_session import OrtSession
from fastface.backends.sessions.torch_session import TorchSession
from fastface.models import detection, recognition
from fastface.models.facenet import mtcnn, proposals, refinement
from fastface.pipeline.analyzer import Analyzer
from fastface.pipeline.insightface_compat.facade import FaceAnalysis
from fastface.pipeline.insightface_compat.result_cache import forget_results
from fastface.utils import free_memory
from fastface.utils import images as images_module
from fastface.utils.detectors import scrfd
from fastface.utils.errors import FastFaceError, OutOfMemory
from fastface.utils.faces import Faces
from fastface.utils.images import ImageBatch, Images
from fastface.utils.packs.read import read_pack
from tests.utils.test_free_memory import SAID_OF_SHORTAGE

cv2 = pytest.importorskip("cv2")
ROOT = Path(__file__).resolve().parents[2]
SIZES = DetectionOptions(sizes_wh=((320, 320),), threshold=0.4)

TORCH = RuntimeError(SAID_OF_SHORTAGE["torch"])
NUMPY = MemoryError("Unable to allocate 75.0 MiB for an array with shape (4, 3, 1280, 1280)")
OPENCV = cv2.error(SAID_OF_SHORTAGE["opencv"])
ONNXRUNTIME = RuntimeError(SAID_OF_SHORTAGE["onnxruntime"])
OPENVINO = RuntimeError(SAID_OF_SHORTAGE["openvino"])

#: Where memory is taken: backend, owner and name of a function, and what it raises.
PLACES: dict[str, tuple[str, Any, str, Exception]] = {
    "upload": ("torch", ImageBatch, "to", TORCH),
    "letterbox": ("torch", detection, "letterbox", OPENCV),
    "planes": ("torch", detection, "network_input", NUMPY),
    "detector in torch": ("torch", TorchSession, "run", TORCH),
    "detector in onnxruntime": ("onnxruntime", OrtSession, "_run_on_host", ONNXRUNTIME),
    "detector in openvino": ("openvino", OpenVinoSession, "_infer", OPENVINO),
    "decode": ("onnxruntime", scrfd, "decode_scrfd", TORCH),
    "suppression": ("onnxruntime", detection, "suppress", TORCH),
    "align": ("onnxruntime", recognition.Recognition, "embed", OPENCV),
    "crops": ("onnxruntime", recognition, "network_input", NUMPY),
    "sums": ("facenet", mtcnn, "summed_area_table", OPENCV),
    "level of the pyramid": ("facenet", proposals, "area_resize", TORCH),
    "crops of the cascade": ("facenet", refinement, "area_crops", TORCH),
}


@pytest.fixture
def crowd(test_data: Path) -> torch.Tensor:
    """Four images with six faces each: `[4,H,W,3]` float32."""
    image = cv2.imread(str(test_data / "images" / "multiface.jpg"))[::2, ::2, ::-1]
    return torch.from_numpy(image.copy()).float()[None].repeat(4, 1, 1, 1) / 255


def analyzer_of(backend: str, test_data: Path) -> Analyzer:
    if reason := all_backends()[backend].why_unavailable():
        pytest.skip(reason)
    if backend == "facenet":
        (pack, *_) = FacenetBackend().packs()
        return Analyzer(pack, get_backend(backend), Placement())
    pack = read_pack("models", test_data / "models")
    return Analyzer(pack, get_backend(backend), Placement())


def analysed(analyzer: Analyzer, pixels: torch.Tensor) -> Faces:
    images = Images.from_comfy(pixels)
    faces = analyzer.detect(images, SIZES)
    return analyzer.describe(images, faces, [t for t in analyzer.pack.tasks if t == "recognition"])


def largest_batch(arguments: tuple[Any, ...]) -> int:
    """Images or faces that a call is about."""
    for each in arguments:
        if isinstance(each, (ImageBatch, Faces)):
            return len(each)
        if isinstance(each, (torch.Tensor, np.ndarray)) and each.ndim > 1:
            return len(each)
        if isinstance(each, (list, tuple)) and isinstance(each[0], (torch.Tensor, np.ndarray)):
            return len(each[0])
    raise AssertionError(f"nothing with a length in {arguments}")


def failing(function: Callable[..., Any], error: Exception, most: int) -> Callable[..., Any]:
    def allocate(*arguments: Any, **named: Any) -> Any:
        if largest_batch(arguments) > most:
            raise error
        return function(*arguments, **named)

    return allocate


@pytest.mark.parametrize("place", PLACES)
def test_fewer_at_a_time_give_the_same_answers(
    place: str, test_data: Path, crowd: torch.Tensor, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    backend, owner, name, error = PLACES[place]
    analyzer = analyzer_of(backend, test_data)
    wanted = analysed(analyzer, crowd)
    assert len(wanted) > 8
    # Proposals and crops are not as many as images: there is a table of sums for each image.
    most = 1 if place != "crops of the cascade" else 2
    function = getattr(owner, name)
    monkeypatch.setattr(owner, name, failing(function, error, most))
    found = analysed(analyzer, crowd)
    assert "out of memory with" in caplog.text
    for (field, got), (_, want) in zip(found.tensors(), wanted.tensors(), strict=True):
        # Kernels for other batch sizes add up in another order.
        assert got.shape == want.shape, field
        assert (got - want).abs().max() <= 1e-3 * want.abs().max(), field


@pytest.mark.parametrize("place", PLACES)
def test_what_does_not_fit_alone_is_an_error_with_a_name(
    place: str, test_data: Path, crowd: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, owner, name, error = PLACES[place]
    analyzer = analyzer_of(backend, test_data)
    analysed(analyzer, crowd[:1])
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing(getattr(owner, name), error, 0))
        with pytest.raises(OutOfMemory, match=r"memory.* free memory by unloading models") as short:
            analysed(analyzer, crowd)
    assert str(error).strip().splitlines()[0][:40] in f"{short.value}{short.value.__cause__}"
    assert len(analysed(analyzer, crowd[:1])) > 3, "and it goes on as soon as there is room"


def test_insightface_itself_is_given_one_image_after_the_other(
    test_data: Path, crowd: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyzer = analyzer_of("insightface", test_data)
    analysed(analyzer, crowd[:1])

    def full(self: Upstream, task: str) -> Any:
        raise ONNXRUNTIME

    monkeypatch.setattr(Upstream, "model", full)
    with pytest.raises(OutOfMemory, match="for want of memory"):
        analysed(analyzer, crowd)


def test_images_that_can_not_be_put_together(
    test_data: Path, crowd: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyzer = analyzer_of("onnxruntime", test_data)

    def full(self: Images, *arguments: Any, **named: Any) -> Any:
        raise TORCH

    monkeypatch.setattr(images_module.Images, "chunks", full)
    with pytest.raises(OutOfMemory, match="DefaultCPUAllocator"):
        analysed(analyzer, crowd)


class TestDropIn:
    @pytest.fixture
    def app(self, test_data: Path) -> FaceAnalysis:
        forget_results()
        return FaceAnalysis(analyzer_of("onnxruntime", test_data), SIZES)

    def test_get(self, app: FaceAnalysis, crowd: torch.Tensor, monkeypatch) -> None:
        monkeypatch.setattr(detection, "letterbox", failing(detection.letterbox, OPENCV, 0))
        with pytest.raises(OutOfMemory, match="Insufficient memory"):
            app.get((crowd[0] * 255).byte().numpy())

    def test_many_crops_go_in_parts(self, app: FaceAnalysis, monkeypatch) -> None:
        crops = list(np.random.default_rng(0).integers(0, 255, (8, 112, 112, 3), dtype=np.uint8))
        recognizer = app.models["recognition"]
        wanted = recognizer.get_feat(crops)
        run = OrtSession._run_on_host
        monkeypatch.setattr(OrtSession, "_run_on_host", failing(run, ONNXRUNTIME, 3))
        np.testing.assert_allclose(recognizer.get_feat(crops), wanted, atol=1e-4)


def test_weights_that_do_not_fit_are_not_called_damaged(
    test_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyzer = analyzer_of("facenet", test_data)

    def full(*_: Any, **__: Any) -> Any:
        raise TORCH

    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(OutOfMemory, match=r"can't be loaded: .*DefaultCPUAllocator"):
        open_inception(analyzer.pack.model("detection").path, torch.device("cpu"), "short")


def test_openvino_is_compiled_again_after_a_run_that_failed(
    test_data: Path, crowd: torch.Tensor
) -> None:
    """OpenVINO 2026.4 answers with the failed run's shapes for ever after."""
    analyzer = analyzer_of("openvino", test_data)
    analysed(analyzer, crowd[:1])
    model: Any = analyzer.model("recognition")
    with model.session.in_use() as session:
        first, request = session.raw, session._request
        assert session.raw is first

        class Full:
            def set_input_tensor(self, *_: Any) -> None:
                """As a request has it; what it is given is never computed."""

            def start_async(self) -> None:
                """As a request has it: what goes wrong is raised to who waits."""

            def wait(self) -> None:
                raise OPENVINO

            def cancel(self) -> None:
                """As a request has it; nobody stops this run."""

        session._request = Full()
        with pytest.raises(OutOfMemory):
            session.run(torch.zeros(1, 3, 112, 112))
        (result,) = session.run(torch.zeros(1, 3, 112, 112))
        assert session.raw is not first and session._request is not request
        assert result.shape == (1, 128)


#: Analyses four images with ever more free address space, and says what came of it.
_LIMITED = """
import resource, sys
from collections import Counter
from pathlib import Path

import cv2
import torch

sys.path.insert(0, sys.argv[1])
from install import import_pack

import_pack("fastface")
from fastface.utils.errors import OutOfMemory
from fastface.utils.free_memory import return_memory
from tests.pipeline.test_short_memory import analysed, analyzer_of

data, backend = Path(sys.argv[2]), sys.argv[3]
image = cv2.resize(cv2.imread(str(data / "images" / "multiface.jpg")), (640, 640))
pixels = torch.from_numpy(image[:, :, ::-1].copy()).float()[None].repeat(4, 1, 1, 1) / 255
analyzer = analyzer_of(backend, data)
wanted = analysed(analyzer, pixels)
seen = Counter()
for megabytes in (4, 16, 32, 64, 160):
    return_memory()
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + (megabytes << 20), resource.RLIM_INFINITY))
    try:
        found = analysed(analyzer, pixels)
    except OutOfMemory:
        seen["short"] += 1
        continue
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert found.image_index.tolist() == wanted.image_index.tolist()
    torch.testing.assert_close(found.boxes, wanted.boxes, rtol=1e-4, atol=1e-2)
    seen["right"] += 1
print(seen["short"], seen["right"])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS is Linux's")
@pytest.mark.parametrize("backend", ["torch", "onnxruntime", "openvino", "facenet"])
def test_with_little_address_space_the_answer_is_right_or_that_it_is_short(
    backend: str, test_data: Path
) -> None:
    if reason := all_backends()[backend].why_unavailable():
        pytest.skip(reason)
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(ROOT), str(test_data), backend],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    short, right = map(int, done.stdout.split())
    assert short + right == 5 and right >= 1, done.stdout


def test_every_error_of_shortage_is_this_packs_own() -> None:
    assert issubclass(OutOfMemory, FastFaceError)
    for error in (TORCH, NUMPY, OPENCV, ONNXRUNTIME, OPENVINO):
        with (
            pytest.raises(OutOfMemory, match="smaller det_size"),
            free_memory.memory_errors_explained(),
        ):
            raise error
    with pytest.raises(ValueError, match="other"), free_memory.memory_errors_explained():
        raise ValueError("other")
