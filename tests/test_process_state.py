"""Whatever a process is set to changes no result, and is as it was afterwards.

Each state is walked with each backend, with models that were opened before and with models that are
opened in it, through the drop-in object and all nodes that compute.
"""

from __future__ import annotations

import contextlib
import decimal
import locale
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.backends.facenet_networks.embedding_weights import CASIA_WEBFACE
from fastface.nodes import NODE_CLASS_MAPPINGS
from fastface.pipeline import lifecycle
from fastface.pipeline.insightface_compat.result_cache import forget_results
from fastface.pipeline.pool import forget_analyzers
from fastface.utils import host
from fastface.utils.faces import Faces

cv2 = pytest.importorskip("cv2")

_deterministic: Any = torch.utils.deterministic

BACKENDS = ("onnxruntime", "torch", "facenet")


# What a process can be set to --------------------------------------------------------------------


def kept(get: Callable[[], Any], put: Callable[[Any], Any], value: Any) -> Any:
    """A state that is a setting with a value; it must be the same when it is left."""

    @contextlib.contextmanager
    def state() -> Iterator[None]:
        before = get()
        put(value)
        try:
            now = get()
            yield
            assert get() == now
        finally:
            put(before)

    return state


def deterministic() -> tuple[bool, bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        bool(_deterministic.fill_uninitialized_memory),
    )


def set_deterministic(value: tuple[bool, bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])
    _deterministic.fill_uninitialized_memory = value[2]


@contextlib.contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
        assert torch.get_default_device() == torch.device("meta")
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def autocast() -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield
        assert torch.is_autocast_enabled("cpu")


@contextlib.contextmanager
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield
        assert torch.is_inference_mode_enabled()


@contextlib.contextmanager
def seeds() -> Iterator[None]:
    """Other numbers to draw; that none are drawn is looked at in every state."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


@contextlib.contextmanager
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def set_locale(value: str) -> None:
    locale.setlocale(locale.LC_ALL, value)


_dtype = (torch.get_default_dtype, torch.set_default_dtype)
STATES: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "nothing": contextlib.nullcontext,
    "default dtype float64": kept(*_dtype, torch.float64),
    "default dtype float16": kept(*_dtype, torch.float16),
    "deterministic": kept(deterministic, set_deterministic, (True, False, True)),
    "deterministic, memory not filled": kept(
        deterministic, set_deterministic, (True, False, False)
    ),
    "autocast": autocast,
    "no grad": kept(torch.is_grad_enabled, torch.set_grad_enabled, False),
    "inference mode": inference,
    "default device": default_device,
    "device of a context": lambda: torch.device("meta"),
    "float32 cut short": kept(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"
    ),
    "numpy raises": lambda: np.errstate(all="raise"),
    "seeds": seeds,
    "one thread": kept(torch.get_num_threads, torch.set_num_threads, 1),
    "warnings are errors": warnings_are_errors,
    "two digits": lambda: decimal.localcontext(decimal.Context(prec=2)),
    "locale": kept(lambda: locale.setlocale(locale.LC_ALL), set_locale, "C"),
}


# What is computed --------------------------------------------------------------------------------


def node(name: str, **inputs: Any) -> tuple[Any, ...]:
    """What a node gives; widgets that are not named have their defaults."""
    made = NODE_CLASS_MAPPINGS[name]()
    given = {}
    for key, (kind, *more) in made.INPUT_TYPES()["required"].items():
        options = more[0] if more else {}
        if isinstance(kind, list):
            given[key] = options.get("default", kind[0])
        elif "default" in options:
            given[key] = options["default"]
    result = getattr(made, made.FUNCTION)(**(given | inputs))
    return result["result"] if isinstance(result, dict) else result


class Analysis:
    """A backend, and all that is to be had from it of a photo."""

    def __init__(self, backend: str, folder: Path, photo: np.ndarray) -> None:
        self._backend = backend
        self._pack = "facenet-casia-webface" if backend == "facenet" else folder.name
        self._photo = photo
        self._images = torch.from_numpy(photo[None, ..., ::-1].copy()).float() / 255
        self.expected = self.results(self.open())

    def open(self) -> Any:
        return node(
            "FastFaceLoader",
            **{"model_pack": self._pack, "backend": self._backend, "device": "cpu"},
            **{"precision": "fp32", "det_size": 128},
        )[0]

    def forget(self) -> None:
        """No result is known, and no network in memory."""
        forget_results()
        lifecycle.unload()
        forget_analyzers()

    def open_before(self) -> Any:
        """An object whose networks are in memory."""
        lifecycle.preload(self._pack, backend=self._backend, device="cpu", precision="fp32")
        return self.open()

    def results(self, app: Any) -> list[Any]:
        images = self._images
        given = {"faceanalysis": app, "images": images}
        has_embedding = "recognition" in app.models  # facenet's is not ArcFace's
        fields = [
            [face.bbox, face.kps, face.det_score, face.embedding if has_embedding else None]
            for face in app.get(self._photo)
        ]
        found = node("FastFaceDetect", **given)
        described, mean = node("FastFaceEmbed", **given, which="all")
        chosen = node("FastFaceSelect", faces=described, reference=mean)
        crops = node("FastFaceCrop", images=images, faces=described)
        pasted = node("FastFacePaste", images=images, crops=crops[0], origin=crops[1])
        masks = node("FastFaceMask", faces=described, grow=3, blur=2.0)
        drawn = node("FastFaceKeypoints", **given)
        segs = node("FastFaceSEGS", images=images, faces=described)
        same = node("FastFaceCompare", faces_a=described, faces_b=described)
        gate = node("FastFaceGate", images=images, faces=described)
        info = node("FastFaceInfo", faces=described, reference=mean)
        mine = [fields, found, described, mean, chosen, crops[0], crops[2:], pasted, masks, drawn]
        return list(flat([*mine, segs, same, gate, info]))


def flat(value: Any) -> Iterator[Any]:
    """Tensors, arrays, numbers and texts of outputs, in their order."""
    if isinstance(value, Faces):
        yield from (tensor for _, tensor in value.tensors())
    elif isinstance(value, dict):
        yield from flat(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from flat(each)
    elif hasattr(value, "__dataclass_fields__"):
        yield from flat(list(vars(value).values()))
    else:
        yield value


def assert_same(results: list[Any], expected: list[Any], tolerance: float) -> None:
    assert len(results) == len(expected)
    for number, (result, wanted) in enumerate(zip(results, expected, strict=True)):
        assert type(result) is type(wanted), number
        if not isinstance(result, (Tensor, np.ndarray, np.generic)):
            if isinstance(result, float):
                assert result == pytest.approx(wanted, abs=tolerance, rel=0), number
            elif not tolerance:
                assert result == wanted, number
            continue
        assert result.dtype == wanted.dtype, number
        assert result.shape == wanted.shape, number
        if isinstance(result, Tensor):
            assert not result.requires_grad and not result.is_inference(), number
            assert result.device == wanted.device, number
        a, b = np.asarray(result, dtype=float), np.asarray(wanted, dtype=float)
        if tolerance:
            np.testing.assert_allclose(a, b, atol=tolerance * max(1.0, np.abs(b).max(initial=0)))
        else:
            np.testing.assert_array_equal(a, b, err_msg=str(number))


def drawn_so_far() -> list[Any]:
    numpy_state = str(np.random.get_state())
    return [torch.get_rng_state().numpy().tobytes(), numpy_state, random.getstate()]


@pytest.fixture(scope="module", params=BACKENDS)
def analysis(
    request: pytest.FixtureRequest, test_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Analysis]:
    backend = request.param
    library = pytest.importorskip("facenet_pytorch" if backend == "facenet" else backend)
    image = cv2.imread(str(test_data / "images" / "multiface.jpg"))[:, 200:530]
    # Two faces.
    photo = cv2.resize(image, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTFACE_MODELS", str(test_data / "models"))
        if backend == "facenet":
            folder = tmp_path_factory.mktemp("models")
            patch.setattr(host, "model_folders", lambda key: (folder / key,))
            (folder / "facenet").mkdir()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                weights = library.InceptionResnetV1().state_dict()
            torch.save(weights, folder / "facenet" / CASIA_WEBFACE.file_name)
        forget_results()
        yield Analysis(backend, test_data / "models", photo)
        forget_results()
        forget_analyzers()


@pytest.mark.parametrize("opened", ["before", "inside"])
@pytest.mark.parametrize("state", STATES)
def test_no_state_of_the_process_changes_a_result(
    analysis: Analysis, state: str, opened: str
) -> None:
    analysis.forget()
    app = analysis.open_before() if opened == "before" else None
    with STATES[state]():
        drawn = drawn_so_far()
        results = analysis.results(app or analysis.open())
        still = drawn_so_far()
    assert still == drawn
    assert_same(results, analysis.expected, 1e-4 if state == "one thread" else 0.0)
