"""The backend `tensorrt`: runs what was built, says how to build, and what `auto` makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fastface.backends import registry
from fastface.backends.interfaces import DetectionOptions
from fastface.backends.placement import Placement
from fastface.backends.tensorrt import TensorRTBackend
from fastface.backends.trt.engines import EngineStore
from fastface.pipeline import choices
from fastface.pipeline.analyzer import Analyzer
from fastface.pipeline.choices import choose_backend, choose_placement
from fastface.pipeline.engine_building import BuildRequest, build_pack
from fastface.pipeline.loading import describe_loaded, load_for_pack
from fastface.pipeline.pool import forget_analyzers
from fastface.utils import host
from fastface.utils.checksummed_file import DamagedFile
from fastface.utils.errors import BackendUnavailable, InvalidInput
from fastface.utils.host import patcher
from fastface.utils.images import Images
from fastface.utils.packs import ModelPack
from fastface.utils.packs.read import read_pack
from fastface.utils.pictures import read_picture
from tests.backends.trt.on_stub import GEFORCE, HOPPER, SMALL, put_in_place, small_pack
from tests.backends.trt.stub import TENSORRT_10, TENSORRT_11, TENSORRT_RTX, StubModule

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def ignore(done: int, total: int) -> None:
    pass


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "cache_folder", lambda: tmp_path / "cache")
    forget_analyzers()


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> StubModule:
    module = StubModule(TENSORRT_11)
    put_in_place(monkeypatch, [module], GEFORCE)
    return module


@pytest.fixture
def pack(tmp_path: Path) -> ModelPack:
    return small_pack(tmp_path / "small")


@pytest.fixture
def real(test_data: Path) -> ModelPack:
    return read_pack("models", test_data / "models")


@pytest.fixture
def photo(test_data: Path) -> Images:
    picture = read_picture(test_data / "images" / "multiface.jpg")
    return Images.from_comfy(torch.from_numpy(picture)[None])


BACKEND = TensorRTBackend()


class TestMissing:
    def test_without_a_card(self, monkeypatch: pytest.MonkeyPatch):
        put_in_place(monkeypatch, [StubModule(TENSORRT_RTX)], None)
        assert "no NVIDIA GPU" in str(BACKEND.why_unavailable()) and BACKEND.devices() == ()

    def test_without_a_library(self, monkeypatch: pytest.MonkeyPatch):
        put_in_place(monkeypatch, [], HOPPER)
        assert "install tensorrt-cu1" in str(BACKEND.why_unavailable()) and BACKEND.devices() == ()

    @pytest.mark.parametrize("name", [TENSORRT_10, TENSORRT_11, TENSORRT_RTX])
    def test_with_both(self, monkeypatch: pytest.MonkeyPatch, name: str):
        put_in_place(monkeypatch, [StubModule(name)], GEFORCE)
        assert BACKEND.why_unavailable() is None and BACKEND.devices() == ("cuda",)


class TestNotBuilt:
    def test_all_that_is_lacking_is_told_at_once(self, stub: StubModule, pack: ModelPack):
        with pytest.raises(BackendUnavailable) as refused:
            BACKEND.open(pack, "detection", Placement("cuda", "mixed"))
        said = str(refused.value)
        assert "detector.onnx has no engine in fp32 by tensorrt 11.4" in said
        assert "embedder.onnx has no engine in fp16" in said
        assert "FastFace Build Engine" in said and "--pack small --precision mixed" in said

    def test_what_is_there_instead_is_told(self, stub, pack: ModelPack, monkeypatch):
        build_pack(pack, BuildRequest("fp32", SMALL), ignore)
        newer = StubModule(TENSORRT_11)
        newer.__version__ = "11.9.0"
        put_in_place(monkeypatch, [newer], GEFORCE)
        with pytest.raises(BackendUnavailable, match=r"only in fp32 by tensorrt 11\.4.* for GeFor"):
            BACKEND.open(pack, "detection", Placement("cuda", "fp32"))
        put_in_place(monkeypatch, [StubModule(TENSORRT_11)], HOPPER)
        with pytest.raises(BackendUnavailable, match=r"for H200 \(sm90\), only in fp32 by"):
            BACKEND.open(pack, "detection", Placement("cuda", "fp32"))

    @pytest.mark.parametrize(
        ("device", "error"),
        [("cpu", InvalidInput), ("cuda:x", InvalidInput), ("cuda:1", BackendUnavailable)],
    )
    def test_a_device_that_is_not_there(self, stub, pack, device: str, error: type[Exception]):
        with pytest.raises(error, match=device):
            BACKEND.open(pack, "detection", Placement(device, "fp32"))


class TestBuilt:
    @pytest.mark.parametrize("name", [TENSORRT_10, TENSORRT_RTX])
    def test_faces_are_those_of_the_reference(
        self, monkeypatch, real: ModelPack, photo: Images, name: str
    ):
        put_in_place(monkeypatch, [StubModule(name)], GEFORCE)
        build_pack(real, BuildRequest("mixed", images=photo), ignore)
        ours = Analyzer(real, BACKEND, Placement("cuda", "mixed"))
        theirs = Analyzer(real, registry.all_backends()["onnxruntime"], Placement())
        found = [
            each.describe(photo, each.detect(photo, DetectionOptions()), ["recognition"])
            for each in (ours, theirs)
        ]
        assert len(found[0]) == 6
        torch.testing.assert_close(found[0].boxes, found[1].boxes, atol=1e-3, rtol=0)
        embeddings = [torch.nn.functional.normalize(each.embeddings) for each in found]
        assert (embeddings[0] * embeddings[1]).sum(1).min() > 0.9999
        where = ours.runs_on()["recognition"]
        assert where.provider.endswith("fp16") and where.note == ""

    def test_declares_the_engines_size(self, stub: StubModule, pack: ModelPack, monkeypatch):
        build_pack(pack, BuildRequest("fp32", SMALL), ignore)
        sizes: list[int] = []
        place = patcher.managed_memory

        def managed_memory(resident: Any, device: Any, size_bytes: int, *more: Any) -> Any:
            sizes.append(size_bytes)
            return place(resident, device, size_bytes, *more)

        monkeypatch.setattr(patcher, "managed_memory", managed_memory)
        BACKEND.open(pack, "detection", Placement("cuda", "fp32"))
        files = {path.stat().st_size for path in EngineStore().folder.glob("detector*.engine")}
        assert set(sizes) == files

    def test_a_network_that_takes_no_batches_runs_image_by_image(
        self, stub: StubModule, tmp_path: Path
    ):
        import onnx

        from tests.backends.onnx_graphs.small_graphs import embedder

        small_pack(tmp_path / "odd")
        onnx.save(embedder("mixes_images"), str(tmp_path / "odd" / "embedder.onnx"))
        odd = read_pack("odd", tmp_path / "odd")
        build_pack(odd, BuildRequest("fp32", SMALL), ignore)
        session = BACKEND.open_session(odd.model("recognition"), Placement("cuda", "fp32"))
        stub.seen.clear()
        (result,) = session.run(torch.rand(3, 3, 112, 112))
        assert result.shape == (3, 16) and stub.seen["batches"] == [1, 1, 1]

    @pytest.mark.parametrize("damage", [b"", b"not an engine", None])
    def test_a_damaged_engine_is_never_handed_to_the_library(
        self, stub: StubModule, pack: ModelPack, monkeypatch, damage: bytes | None
    ):
        built = build_pack(pack, BuildRequest("fp32", SMALL), ignore)
        path = EngineStore().path(built.engines[0].key)
        data = path.read_bytes()
        flipped = data[:-50] + bytes([data[-50] ^ 1]) + data[-49:]
        path.write_bytes(flipped if damage is None else damage)
        reached: list[bytes] = []
        runtime = stub.Runtime
        monkeypatch.setattr(
            runtime, "deserialize_cuda_engine", lambda self, data: reached.append(data)
        )
        with pytest.raises((BackendUnavailable, DamagedFile)):
            BACKEND.open(pack, "detection", Placement("cuda", "fp32"))
        assert reached == []


class TestAuto:
    @pytest.fixture(autouse=True)
    def devices(self, monkeypatch: pytest.MonkeyPatch) -> None:
        torch_backend = registry.all_backends()["torch"]
        monkeypatch.setattr(type(torch_backend), "devices", lambda self: ("cuda", "cpu"))

    def chosen(self, pack: ModelPack, precision: str = "auto", device: str = "auto") -> Any:
        backend, why = choose_backend("auto", pack, device, precision)
        placement = choose_placement(backend, pack, device, precision, False)
        return backend.name, placement.precision, why

    def test_takes_engines_that_are_fit(self, stub: StubModule, real: ModelPack, photo: Images):
        name, _, why = self.chosen(real)
        assert name == "torch" and "passed over tensorrt: no engines are built" in why
        build_pack(real, BuildRequest("fp16", images=photo), ignore)
        assert self.chosen(real)[:2] == ("tensorrt", "fp16")
        assert self.chosen(real, "fp16", "cuda:0")[:2] == ("tensorrt", "fp16")
        # What they can't do others can.
        assert self.chosen(real, "fp32")[:2] == ("torch", "fp32")
        assert self.chosen(real, "bf16")[:2] == ("torch", "bf16")
        build_pack(real, BuildRequest("mixed", images=photo), ignore)
        assert self.chosen(real)[:2] == ("tensorrt", "mixed")

    def test_passes_over_those_that_are_not(self, stub: StubModule, real, photo: Images):
        stub.noise = 0.4
        build_pack(real, BuildRequest("fp16", images=photo), ignore)
        name, _, why = self.chosen(real)
        assert name == "torch" and "unfit" in why and "boxes off by" in why
        # Who names the backend gets it, with what is known.
        backend, _ = choose_backend("tensorrt", real, "auto")
        placement = choose_placement(backend, real, "auto", "auto", False)
        assert placement.precision == "fp16"
        session = BACKEND.open_session(real.model("detection"), placement)
        assert "its answers are unfit" in session.runs_on.note

    def test_passes_over_those_that_nobody_has_tried(self, stub: StubModule, pack: ModelPack):
        store = EngineStore()
        for made in build_pack(pack, BuildRequest("fp32", SMALL), ignore).engines:
            store.note(made.key, store.load(made.key), {})
        name, _, why = self.chosen(pack)
        assert name == "torch" and "untested" in why

    def test_says_nothing_of_it_where_there_is_no_card(self, monkeypatch, pack: ModelPack):
        put_in_place(monkeypatch, [], None)
        assert "tensorrt" not in self.chosen(pack)[2]


def test_the_loader_shows_what_runs(stub: StubModule, real: ModelPack, photo: Images):
    build_pack(real, BuildRequest("fp32", images=photo), ignore)
    info = describe_loaded(load_for_pack(real, DetectionOptions(), "tensorrt"))
    assert "detection: runs on tensorrt 11.4.0.106 fp32 on cpu, 100% of its nodes" in info
    assert "backend: tensorrt (as chosen)" in info and "asked for: cuda, fp32" in info


def test_the_design_has_it_first_of_all():
    assert choices._AUTO_BACKENDS[0] == ("tensorrt", True)


@pytest.mark.gpu
def test_on_a_real_gpu_engines_are_fit_and_find_the_same_faces(real: ModelPack, photo: Images):
    if BACKEND.why_unavailable():
        pytest.skip(str(BACKEND.why_unavailable()))
    built = build_pack(real, BuildRequest("mixed", images=photo), ignore)
    assert all(made.fitness.is_fit for made in built.engines), [str(m) for m in built.engines]
    analyzer = Analyzer(real, BACKEND, Placement("cuda", "mixed"))
    faces = analyzer.describe(photo, analyzer.detect(photo, DetectionOptions()), ["recognition"])
    assert faces.boxes.device.type == "cuda" and len(faces) == 6
    backend, _ = choose_backend("auto", real, "auto")
    assert backend.name == "tensorrt"
