"""Building a pack's engines: found again, rebuilt when damaged, interrupted without a trace."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from fastface.backends import registry
from fastface.backends.trt.engines import EngineStore
from fastface.backends.trt.library import Library
from fastface.pipeline import engine_building
from fastface.pipeline.engine_building import BuildRequest, build_pack, listing, summary
from fastface.utils.errors import BackendUnavailable, FastFaceError, InvalidInput, ModelError
from fastface.utils.images import Images
from fastface.utils.packs import ModelFile, ModelPack
from fastface.utils.packs.read import read_pack
from fastface.utils.pictures import read_picture
from tests.backends.onnx_graphs.test_foreign import FAULTS, pack_with
from tests.backends.trt.on_stub import GEFORCE, HOPPER, SMALL, put_in_place
from tests.backends.trt.stub import TENSORRT_10, TENSORRT_11, TENSORRT_RTX, StubModule

pytest.importorskip("onnxruntime")

WISH = BuildRequest("fp16", SMALL)


def ignore(done: int, total: int) -> None:
    pass


def damaged(data: bytes, how: str) -> bytes:
    flipped = bytearray(data)
    flipped[-100] ^= 4
    return {
        "truncated": data[: len(data) // 2],
        "bit flipped": bytes(flipped),
        "empty": b"",
        "other version": data.replace(b"tensorrt_rtx", b"tensorrt_rtq", 1),
    }[how]


class TestForReal:
    """With tensorrt_rtx, which builds without a GPU."""

    @pytest.fixture(autouse=True)
    def no_card(self, rtx: Library, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine_building, "card_here", lambda index=0: None)

    def test_it_is_built_once(self, pack: ModelPack, store: EngineStore):
        progress: list[tuple[int, int]] = []
        first = build_pack(pack, WISH, lambda *at: progress.append(at), store)
        assert [made.key.task for made in first.engines] == ["detection", "recognition"]
        assert all(made.seconds for made in first.engines)
        assert progress == sorted(progress) and progress[0] == (0, 200)
        assert progress[-1] == (200, 200) and len(progress) > 20
        files = {path: path.stat().st_mtime_ns for path in store.folder.glob("*.engine")}
        assert len(files) == 2
        second = build_pack(pack, WISH, ignore, store)
        assert all(made.seconds is None for made in second.engines)
        assert [made.key for made in second.engines] == [made.key for made in first.engines]
        assert {path: path.stat().st_mtime_ns for path in files} == files
        again = build_pack(pack, dataclasses.replace(WISH, rebuild=True), ignore, store)
        assert all(made.seconds for made in again.engines)

    @pytest.mark.parametrize("how", ["truncated", "bit flipped", "empty", "other version"])
    def test_a_damaged_engine_is_built_again(
        self, pack: ModelPack, store: EngineStore, how: str, caplog: pytest.LogCaptureFixture
    ):
        first = build_pack(pack, WISH, ignore, store)
        path = store.path(first.engines[0].key)
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, how))
        second = build_pack(pack, WISH, ignore, store)
        assert [made.seconds is None for made in second.engines] == [False, True]
        assert "it is built again" in caplog.text
        assert store.is_whole(first.engines[0].key)

    @pytest.mark.parametrize("at", [1, 12, 101, 130])
    def test_an_interruption_leaves_no_file_of_what_was_in_work(
        self, pack: ModelPack, store: EngineStore, at: int
    ):
        class Stopped(Exception):
            pass

        def stop(done: int, total: int) -> None:
            if done >= at:
                raise Stopped

        with pytest.raises(Stopped):
            build_pack(pack, WISH, stop, store)
        there = (
            sorted(path.name for path in store.folder.glob("*")) if store.folder.exists() else []
        )
        assert len(there) == (2 if at > 100 else 0), there
        assert all(name.startswith("detector-fp16-") for name in there)
        build_pack(pack, WISH, ignore, store)

    def test_what_was_noted_names_the_nodes_in_fp32(self, pack: ModelPack, store: EngineStore):
        built = build_pack(pack, WISH, ignore, store)
        for made in built.engines:
            notes = json.loads(store.path(made.key).with_suffix(".json").read_text())
            assert notes["kept_in_fp32"] == list(made.kept) != []
            assert notes["pack"] == "small" and notes["seconds"] >= 0
            assert made.fitness.verdict == notes["fitness"]["verdict"] == "untested"
        said = summary(pack, built)
        assert "builds without a GPU" in said and built.engines[0].kept[0] in said
        assert "so backend auto passes over: detection, recognition" in said
        assert built.engines[1].key.model in listing(store)

    def test_a_network_that_takes_no_batches_is_built_for_one_image(
        self, pack: ModelPack, store: EngineStore
    ):
        from tests.backends.onnx_graphs.small_graphs import embedder

        onnx.save(embedder("mixes_images"), str(pack.folder / "embedder.onnx"))
        built = build_pack(read_pack("small", pack.folder), WISH, ignore, store)
        key = built.engines[1].key
        assert key.shapes == ((1, 3, 112, 112),) * 3 and not key.takes_batches


class TestForeignGraphs:
    """Whatever goes wrong with a damaged graph names its file."""

    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    @pytest.mark.parametrize("at", ["detector", "recogniser"])
    @pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
    def test_damage_is_refused_by_name(
        self,
        tmp_path: Path,
        store: EngineStore,
        monkeypatch: pytest.MonkeyPatch,
        fault: Callable[[Any], None],
        at: str,
        precision: str,
    ):
        put_in_place(monkeypatch, [StubModule(TENSORRT_RTX)], None)
        wish = dataclasses.replace(WISH, precision=precision)
        try:
            build_pack(read_pack("odd", pack_with(tmp_path, fault, at)), wish, ignore, store)
        except FastFaceError as error:
            assert f"{at}.onnx" in str(error)

    @pytest.mark.parametrize("step", ["prepared_for", "engine_key", "graph_in"])
    @pytest.mark.parametrize("error", [KeyError("conv1"), AssertionError(), StopIteration()])
    def test_errors_of_libraries_become_those_of_the_file(
        self,
        pack: ModelPack,
        store: EngineStore,
        monkeypatch: pytest.MonkeyPatch,
        step: str,
        error: Exception,
    ):
        put_in_place(monkeypatch, [StubModule(TENSORRT_RTX)], None)

        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(engine_building, step, fail)
        with pytest.raises(ModelError, match=r"detector\.onnx can't be made into an engine"):
            build_pack(pack, WISH, ignore, store)

    def test_sizes_that_no_file_of_its_size_can_have_are_refused(
        self, tmp_path: Path, store: EngineStore, monkeypatch: pytest.MonkeyPatch
    ):
        put_in_place(monkeypatch, [StubModule(TENSORRT_RTX)], None)

        def fill(model: Any) -> None:
            constant = onnx.helper.make_tensor(
                "huge", onnx.TensorProto.INT64, [2], [1 << 22, 1 << 22]
            )
            model.graph.initializer.append(constant)
            node = onnx.helper.make_node("ConstantOfShape", ["huge"], ["filled"])
            model.graph.node.insert(0, node)

        pack = read_pack("odd", pack_with(tmp_path, fill, "detector"))
        with pytest.raises(ModelError, match=r"detector\.onnx"):
            build_pack(pack, WISH, ignore, store)


@pytest.fixture
def real(test_data: Path) -> ModelPack:
    return read_pack("models", test_data / "models")


@pytest.fixture
def wish(test_data: Path) -> BuildRequest:
    photo = read_picture(test_data / "images" / "multiface.jpg")
    return BuildRequest("fp16", images=Images.from_comfy(torch.from_numpy(photo)[None]))


@pytest.mark.parametrize("name", [TENSORRT_10, TENSORRT_11, TENSORRT_RTX])
class TestAnswers:
    """On stand-ins that compute: engines are held against the reference on a photo."""

    def test_fp16_is_fit(
        self, monkeypatch, store: EngineStore, real, wish: BuildRequest, name: str
    ):
        put_in_place(monkeypatch, [StubModule(name)], GEFORCE)
        built = build_pack(real, wish, ignore, store)
        detection, recognition = (made.fitness for made in built.engines)
        assert detection.is_fit and recognition.is_fit, summary(real, built)
        assert detection.faces == recognition.faces == 6 and detection.images == 1
        assert 0 < detection.figures["box_px"] < 2 and 0 < detection.figures["landmark_px"] < 1
        assert 0.999 < recognition.figures["cosine"] < 1
        assert detection.reference == "onnxruntime fp32 on cpu"
        # What was found is read the next time, not measured again.
        assert [m.fitness for m in build_pack(real, wish, ignore, store).engines] == [
            detection,
            recognition,
        ]

    def test_wrong_answers_are_unfit(self, monkeypatch, store, real, wish: BuildRequest, name: str):
        stub = StubModule(name)
        put_in_place(monkeypatch, [stub], GEFORCE)
        stub.noise = 0.4
        built = build_pack(real, wish, ignore, store)
        detection, recognition = (made.fitness for made in built.engines)
        assert detection.verdict == recognition.verdict == "unfit"
        assert "boxes off by" in "".join(detection.reasons)
        assert "cosine of embeddings down to" in "".join(recognition.reasons)
        assert "so backend auto passes over: detection, recognition" in summary(real, built)


def test_without_faces_nothing_is_known(monkeypatch, store: EngineStore, real, wish: BuildRequest):
    put_in_place(monkeypatch, [StubModule(TENSORRT_11)], GEFORCE)
    grey = Images.from_bgr(np.full((200, 200, 3), 127, np.uint8))
    built = build_pack(real, dataclasses.replace(wish, images=grey), ignore, store)
    assert {made.fitness.verdict for made in built.engines} == {"untested"}
    assert "finds no face in the 1 images" in summary(real, built)
    # With a photo of faces it is known, and nothing has to be built for that.
    later = build_pack(real, wish, ignore, store)
    assert all(made.fitness.is_fit and made.seconds is None for made in later.engines)


def test_timings_are_kept_for_the_next_build(monkeypatch, pack, store: EngineStore):
    stub = StubModule(TENSORRT_11)
    put_in_place(monkeypatch, [stub], GEFORCE)
    build_pack(pack, WISH, ignore, store)
    assert store.timings("tensorrt 11.4.0.106", str(GEFORCE)) == b"timed;timed;"
    assert stub.seen["timings"] == b"timed;"
    build_pack(pack, dataclasses.replace(WISH, rebuild=True), ignore, store)
    assert stub.seen["timings"] == b"timed;timed;timed;"


def test_the_workspace_is_the_users_else_the_settings(monkeypatch, pack, store: EngineStore):
    stub = StubModule(TENSORRT_11)
    put_in_place(monkeypatch, [stub], GEFORCE)
    build_pack(pack, WISH, ignore, store)
    assert "workspace" not in stub.seen
    monkeypatch.setenv("FASTFACE_GPU_MEM_LIMIT", "1GiB")
    rebuild = dataclasses.replace(WISH, rebuild=True)
    build_pack(pack, rebuild, ignore, store)
    assert stub.seen["workspace"] == ("WORKSPACE", 2**30)
    build_pack(pack, dataclasses.replace(rebuild, workspace_bytes=2**20), ignore, store)
    assert stub.seen["workspace"] == ("WORKSPACE", 2**20)


def test_mixed_recognises_in_fp16(monkeypatch, pack: ModelPack, store: EngineStore):
    put_in_place(monkeypatch, [StubModule(TENSORRT_11)], GEFORCE)
    built = build_pack(pack, dataclasses.replace(WISH, precision="mixed"), ignore, store)
    assert [made.key.precision for made in built.engines] == ["fp32", "fp16"]
    assert [bool(made.kept) for made in built.engines] == [False, True]


class TestRefusals:
    def test_no_library_gives_the_remedy(self, monkeypatch, pack: ModelPack, store: EngineStore):
        put_in_place(monkeypatch, [], HOPPER)
        with pytest.raises(BackendUnavailable, match=r"for H200 \(sm90\) with: .*tensorrt-cu1"):
            build_pack(pack, WISH, ignore, store)

    def test_a_pack_without_graphs(self, store: EngineStore):
        weights = ModelFile(Path("mtcnn.pt"), "detection")
        facenet = ModelPack("facenet-mtcnn", Path(), (weights,))
        with pytest.raises(
            BackendUnavailable, match=r"pack 'facenet.*antelopev2.*download_missing"
        ):
            build_pack(facenet, WISH, ignore, store)

    def test_a_network_that_takes_bytes(self, monkeypatch, pack: ModelPack, store: EngineStore):
        put_in_place(monkeypatch, [StubModule(TENSORRT_11)], GEFORCE)
        models = tuple(dataclasses.replace(m, input_dtype="uint8") for m in pack.models)
        with pytest.raises(BackendUnavailable, match=r"takes uint8; .* torch backend"):
            build_pack(dataclasses.replace(pack, models=models), WISH, ignore, store)

    def test_a_folder_that_can_not_be_written(self, monkeypatch, pack: ModelPack, tmp_path: Path):
        put_in_place(monkeypatch, [StubModule(TENSORRT_11)], GEFORCE)
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(InvalidInput, match="can't be written to"):
            build_pack(pack, WISH, ignore, EngineStore(tmp_path / "file" / "engines"))

    @pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"workspace_bytes": -1}])
    def test_a_wrong_wish(self, changes: dict):
        with pytest.raises(InvalidInput, match="expected"):
            BuildRequest(**changes)


def test_without_a_photo_it_is_built_and_untested(monkeypatch, pack, store: EngineStore):
    put_in_place(monkeypatch, [StubModule(TENSORRT_11)], GEFORCE)

    def none_here() -> Path:
        raise InvalidInput("insightface is not installed")

    monkeypatch.setattr(engine_building, "packaged_photo", none_here)
    built = build_pack(pack, WISH, ignore, store)
    assert {made.fitness.verdict for made in built.engines} == {"untested"}
    assert "no photo to compare on" in summary(pack, built)


def test_without_a_reference_it_is_told(monkeypatch, pack: ModelPack, store: EngineStore):
    put_in_place(monkeypatch, [StubModule(TENSORRT_11)], GEFORCE)
    for name in ("onnxruntime", "torch"):
        backend = registry.all_backends()[name]
        monkeypatch.setattr(type(backend), "why_unavailable", lambda self: "not installed")
    grey = Images.from_bgr(np.full((96, 96, 3), 127, np.uint8))
    with pytest.raises(BackendUnavailable, match="neither can run here: not installed"):
        build_pack(pack, dataclasses.replace(WISH, images=grey), ignore, store)
