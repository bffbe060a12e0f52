"""From a user's choices to an object: which pack, which backend, which device, and why."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastface.backends import registry
from fastface.backends.placement import Placement
from fastface.pipeline import choices, pack_choice, proven_choice
from fastface.pipeline.loading import describe_loaded, load_face_analysis
from fastface.pipeline.pool import forget_analyzers
from fastface.utils.errors import BackendUnavailable, InvalidInput, ModelError
from fastface.utils.faces import Faces
from fastface.utils.images import Images
from fastface.utils.packs import ModelFile, ModelPack
from fastface.utils.settings import WrongSetting
from tests.nodes.fakes import FakeBackend


class Backend(FakeBackend):
    """A backend that has, lacks and refuses what a test says."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.reason: str | None = None
        self.refusal: str | None = None
        self.offered: tuple[str, ...] = ("cpu",)
        self.cheaper: tuple[str, ...] = ()
        self.own: tuple[ModelPack, ...] = ()
        self.opened: list[tuple[str, str, Placement]] = []

    def why_unavailable(self) -> str | None:
        return self.reason

    def devices(self) -> tuple[str, ...]:
        return self.offered

    def precisions(self, device: str) -> tuple[str, ...]:
        return ("fp32", *self.cheaper) if device == "cpu" else ("fp16", "fp32")

    def proven_precisions(self, device: str) -> tuple[str, ...]:
        return self.cheaper if device == "cpu" else ()

    def packs(self) -> tuple[ModelPack, ...]:
        return self.own

    def why_unsupported(self, pack: ModelPack) -> str | None:
        return self.refusal

    def open(self, pack: ModelPack, task: str, placement: Placement) -> Any:
        self.opened.append((pack.name, task, placement))
        return super().open(pack, task, placement)


class World:
    """The backends and packs there are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backends = {
            name: Backend(name) for name in ("facenet", "insightface", "onnxruntime", "zebra")
        }
        self.installed: dict[str, ModelPack | Exception] = {}

    def install(self, name: str, *tasks: str) -> ModelPack:
        pack = self.installed[name] = self.pack(name, *tasks)
        return pack

    def pack(self, name: str, *tasks: str) -> ModelPack:
        models = []
        for task in tasks or ("detection", "recognition"):
            path = self.folder / f"{name}-{task}.onnx"
            path.write_bytes(b"weights")
            models.append(ModelFile(path, task))
        return ModelPack(name, self.folder, tuple(models))

    def load_pack(self, name: str, extra_roots: Any = ()) -> ModelPack:
        if name not in self.installed:
            raise ModelError(f"there is no model pack {name!r}")
        found = self.installed[name]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path)
    monkeypatch.setattr(choices, "all_backends", lambda: world.backends)
    monkeypatch.setattr(pack_choice, "all_backends", lambda: world.backends)
    monkeypatch.setattr(registry, "all_backends", lambda: world.backends)
    monkeypatch.setattr(
        pack_choice, "find_packs", lambda _roots=(): dict.fromkeys(world.installed, tmp_path)
    )
    monkeypatch.setattr(pack_choice, "load_pack", world.load_pack)
    forget_analyzers()
    yield world
    forget_analyzers()


class TestChoices:
    def test_with_nothing_installed_there_is_auto_and_what_can_be_downloaded(self, world: World):
        names = pack_choice.pack_names()
        assert names[0] == "auto" and {"antelopev2", "buffalo_l"} < set(names)

    def test_installed_packs_come_first_and_none_twice(self, world: World):
        world.install("mine")
        world.install("buffalo_l")
        world.backends["zebra"].own = (world.pack("stripes"),)
        names = pack_choice.pack_names()
        assert names[:4] == ["auto", "mine", "buffalo_l", "stripes"]
        assert len(names) == len(set(names))

    def test_backends_are_listed_whether_they_run_here_or_not(self, world: World):
        world.backends["zebra"].reason = "no stripes"
        assert choices.backend_names() == ["auto", *world.backends]

    def test_devices_are_the_same_on_every_machine(self, world: World):
        assert choices.device_names()[0] == "auto"
        assert {"cpu", "cuda", "mps", "directml", "tensorrt"} < set(choices.device_names())


class TestPack:
    def test_none_at_all(self, world: World):
        with pytest.raises(
            ModelError, match=r"no model pack that detects faces is installed: .*python install.py"
        ):
            load_face_analysis()

    def test_auto_prefers_known_packs_then_others_then_a_backends_own(self, world: World):
        world.backends["zebra"].own = (world.pack("stripes"),)
        assert load_face_analysis().analyzer.pack.name == "stripes"
        world.install("mine")
        assert load_face_analysis().analyzer.pack.name == "mine"
        world.install("buffalo_l")
        assert load_face_analysis().analyzer.pack.name == "buffalo_l"

    def test_auto_takes_the_pack_that_the_settings_name(self, world: World, monkeypatch):
        world.install("buffalo_l")
        world.install("mine")
        world.backends["zebra"].own = (world.pack("stripes"),)
        for name in ("mine", "stripes"):
            monkeypatch.setenv("FASTFACE_PACK", name)
            assert load_face_analysis().analyzer.pack.name == name
            assert load_face_analysis(model_pack="buffalo_l").analyzer.pack.name == "buffalo_l"
        monkeypatch.setenv("FASTFACE_PACK", "gone")
        with pytest.raises(ModelError, match="FASTFACE_PACK is 'gone', but there is no model pack"):
            load_face_analysis()

    def test_auto_takes_the_smallest_that_recognises_where_memory_is_short(
        self, world: World, monkeypatch
    ):
        for name, size in (("buffalo_l", 900), ("blind", 1), ("small", 50), ("mine", 60)):
            tasks = ("detection",) if name == "blind" else ("detection", "recognition")
            for model in world.install(name, *tasks).models:
                model.path.write_bytes(bytes(size))
        assert load_face_analysis().analyzer.pack.name == "buffalo_l"
        monkeypatch.setenv("FASTFACE_PROFILE", "low-memory")
        app = load_face_analysis()
        assert app.analyzer.pack.name == "small" and app.max_faces == 4
        monkeypatch.setenv("FASTFACE_SMALL_PACKS", "0")
        assert load_face_analysis().analyzer.pack.name == "buffalo_l"

    def test_auto_takes_what_instantid_refuses_last(self, world: World):
        world.install("auraface")
        assert load_face_analysis().analyzer.pack.name == "auraface"
        world.install("mine")
        assert load_face_analysis().analyzer.pack.name == "mine"

    def test_auto_passes_over_what_is_damaged_or_finds_no_faces(
        self, world: World, caplog: pytest.LogCaptureFixture
    ):
        world.installed["antelopev2"] = ModelError("its detector is damaged")
        world.install("buffalo_l", "recognition")
        world.install("mine")
        with caplog.at_level(logging.WARNING, logger="FastFace"):
            assert load_face_analysis().analyzer.pack.name == "mine"
        (message,) = [record.getMessage() for record in caplog.records]
        assert "'antelopev2'" in message and "its detector is damaged" in message

    def test_auto_says_which_weights_it_could_not_find(self, world: World, monkeypatch, caplog):
        world.backends["facenet"].own = (world.pack("facenet-mtcnn", "detection"),)
        lost = ("x.zip is still zipped: unpack it into x",)
        monkeypatch.setattr(pack_choice, "misplaced_weights", lambda _roots: lost)
        assert load_face_analysis().analyzer.pack.name == "facenet-mtcnn"
        assert "takes 'facenet-mtcnn', as it finds none: x.zip is still zipped" in caplog.text
        caplog.clear()
        world.install("mine", "detection")
        assert load_face_analysis().analyzer.pack.name == "mine" and not caplog.text

    def test_auto_reads_no_pack_behind_the_one_it_takes(self, world: World):
        world.install("antelopev2")
        world.installed["zzz"] = AssertionError("read for nothing")
        assert load_face_analysis().analyzer.pack.name == "antelopev2"

    def test_auto_takes_the_own_pack_of_a_backend_that_was_chosen(self, world: World):
        world.install("buffalo_l")
        world.backends["zebra"].own = (world.pack("stripes"),)
        assert load_face_analysis(backend="zebra").analyzer.pack.name == "stripes"
        assert load_face_analysis(backend="onnxruntime").analyzer.pack.name == "buffalo_l"

    def test_nothing_is_downloaded_unasked(self, world: World):
        with pytest.raises(ModelError, match="there is no model pack 'buffalo_l'"):
            load_face_analysis(model_pack="buffalo_l")

    @pytest.mark.parametrize("name", ["buffalo_l", "mine"])
    def test_a_known_pack_is_downloaded_when_asked_for(
        self, world: World, monkeypatch: pytest.MonkeyPatch, name: str
    ):
        asked: list[Any] = []

        def download_pack(pack: Any, root: Path, on_progress: Any = None) -> None:
            asked.append(on_progress)
            world.install(name)

        monkeypatch.setattr("fastface.utils.download.fetch.download_pack", download_pack)
        choose = {"model_pack": name, "download_missing": True, "on_download": print}
        if name == "mine":
            with pytest.raises(ModelError):
                load_face_analysis(**choose)
            assert asked == []
            return
        assert load_face_analysis(**choose).analyzer.pack.name == name
        load_face_analysis(**choose)
        assert asked == [print], "what is there is not downloaded again"

    def test_one_without_a_detector_is_refused_at_once(self, world: World):
        world.install("half", "recognition")
        with pytest.raises(ModelError, match=r"'half' .* has no detection model"):
            load_face_analysis(model_pack="half")


class TestBackend:
    @pytest.fixture(autouse=True)
    def installed(self, world: World) -> None:
        world.install("mine")

    def test_auto_takes_the_best_that_can_and_says_why_not_the_others(self, world: World):
        assert load_face_analysis().analyzer.backend.name == "onnxruntime"
        world.backends["onnxruntime"].reason = "onnxruntime is not installed"
        app = load_face_analysis()
        assert app.analyzer.backend.name == "insightface"
        assert "onnxruntime is not installed" in app.why and "mine" in app.why
        world.backends["insightface"].refusal = "no ONNX files"
        assert load_face_analysis().analyzer.backend.name == "facenet"

    def test_when_none_can_every_reason_is_given(self, world: World):
        for name, backend in world.backends.items():
            backend.reason = f"{name} is not here"
        with pytest.raises(BackendUnavailable) as refused:
            load_face_analysis()
        for name in ("onnxruntime", "insightface", "facenet"):
            assert f"{name}: {name} is not here" in str(refused.value)

    def test_one_that_was_chosen_is_taken_or_refused_never_replaced(self, world: World):
        app = load_face_analysis(backend="zebra")
        assert app.analyzer.backend.name == "zebra" and app.why == "as chosen"
        world.backends["zebra"].refusal = "only stripes"
        with pytest.raises(BackendUnavailable, match="'zebra': only stripes"):
            load_face_analysis(backend="zebra", model_pack="mine")
        world.backends["zebra"].reason = "no stripes"
        with pytest.raises(BackendUnavailable, match="'zebra' can't run here: no stripes"):
            load_face_analysis(backend="zebra", model_pack="mine")
        with pytest.raises(BackendUnavailable, match="expected one of"):
            load_face_analysis(backend="lion")

    @pytest.mark.parametrize(
        ("device", "torch_has", "onnxruntime_is", "taken"),
        [
            ("auto", ("cuda", "cpu"), None, "torch"),
            ("cuda:0", ("cuda", "cpu"), None, "torch"),
            ("cpu", ("cuda", "cpu"), None, "onnxruntime"),
            ("cpu", ("cuda", "cpu"), "not installed", "torch"),
            ("auto", ("cpu",), None, "onnxruntime"),
            ("auto", ("cpu",), "not installed", "torch"),
        ],
    )
    def test_auto_takes_torch_on_a_gpu_and_onnxruntime_on_a_cpu(
        self,
        world: World,
        device: str,
        torch_has: tuple[str, ...],
        onnxruntime_is: str | None,
        taken: str,
    ):
        world.backends["torch"] = Backend("torch")
        world.backends["torch"].offered = torch_has
        world.backends["onnxruntime"].reason = onnxruntime_is
        assert load_face_analysis(device=device).analyzer.backend.name == taken

    @pytest.mark.parametrize(
        ("device", "onnxruntime_has", "is_there", "taken"),
        [
            ("auto", ("cpu",), True, "openvino"),
            ("cpu", ("cpu",), True, "openvino"),
            ("auto", ("directml", "cpu"), True, "onnxruntime"),
            ("directml", ("directml", "cpu"), True, "onnxruntime"),
            ("cpu", ("directml", "cpu"), True, "openvino"),
            ("cuda", ("cpu",), True, "onnxruntime"),
            ("auto", ("cpu",), False, "onnxruntime"),
        ],
    )
    def test_auto_takes_openvino_on_a_cpu_where_somebody_installed_it(
        self,
        world: World,
        device: str,
        onnxruntime_has: tuple[str, ...],
        is_there: bool,
        taken: str,
    ):
        openvino = world.backends["openvino"] = Backend("openvino")
        openvino.extra = True
        openvino.reason = None if is_there else "openvino is not installed"
        world.backends["onnxruntime"].offered = onnxruntime_has
        app = load_face_analysis(device=device)
        assert app.analyzer.backend.name == taken
        assert "is not installed" not in app.why, "nobody misses it"

    @pytest.mark.parametrize(
        ("openvino_is", "torch_has", "proven_by", "torch_speed", "taken"),
        [
            (None, ("bf16",), {"openvino", "torch", "onnxruntime"}, 2.0, "openvino"),
            ("not installed", ("bf16",), {"torch", "onnxruntime"}, 2.0, "torch"),
            ("not installed", ("bf16",), {"torch", "onnxruntime"}, 1.0, "onnxruntime"),
            ("not installed", ("bf16",), {"torch"}, 1.0, "onnxruntime"),
            ("not installed", (), {"onnxruntime"}, 2.0, "onnxruntime"),
            (None, ("bf16",), {"torch", "onnxruntime"}, 2.0, "torch"),
            (None, ("bf16",), {"torch"}, 1.0, "openvino"),
            # What it would take for fp32.
            (None, ("bf16",), set(), 2.0, "openvino"),
            ("not installed", ("bf16",), set(), 2.0, "onnxruntime"),
        ],
    )
    def test_fast_takes_the_best_that_is_faster_than_fp32_elsewhere(
        self,
        world: World,
        monkeypatch: pytest.MonkeyPatch,
        openvino_is: str | None,
        torch_has: tuple[str, ...],
        proven_by: set[str],
        torch_speed: float,
        taken: str,
    ):
        asked: list[str] = []

        def proven(pack: Any, backend: Any, placement: Placement, tasks: Any) -> Placement:
            asked.append(backend.name)
            task = ("detection", "bf16", "")
            return replace(placement, proven=(task,) if backend.name in proven_by else ())

        def speed_over(usual: Any, pack: Any, backend: Any, placement: Placement, tasks: Any):
            assert usual.name == ("onnxruntime" if openvino_is else "openvino")
            return torch_speed if backend.name == "torch" else 1.5

        monkeypatch.setattr(proven_choice, "proven_placement", proven)
        monkeypatch.setattr(proven_choice, "speed_over", speed_over)
        for name, cheaper in (("openvino", ("int8", "bf16")), ("torch", torch_has)):
            world.backends[name] = Backend(name)
            world.backends[name].cheaper = cheaper
        world.backends["openvino"].reason = openvino_is
        world.backends["onnxruntime"].cheaper = ("int8",)
        app = load_face_analysis(precision="fast")
        assert app.analyzer.backend.name == taken
        for name in set(asked) - {taken}:
            reason = r"nothing cheaper than fp32 is proven|it is 1\.00 times as fast as \w+ in fp32"
            assert re.search(f"for fast passed over {name}: ({reason})", app.why)
        asked.clear()
        monkeypatch.setenv("FASTFACE_FAST", "1")
        assert load_face_analysis().analyzer.backend.name == taken and taken in asked
        assert load_face_analysis(backend="onnxruntime", precision="fast").why == "as chosen"

    def test_auto_takes_one_that_computes_in_the_precision(self, world: World):
        world.backends["torch"] = Backend("torch")
        world.backends["torch"].cheaper = ("mixed",)
        app = load_face_analysis(precision="mixed")
        assert app.analyzer.backend.name == "torch"
        assert "passed over onnxruntime: backend 'onnxruntime' does not compute in it" in app.why
        with pytest.raises(InvalidInput, match=r"got precision 'bf16', expected .*'onnxruntime'"):
            load_face_analysis(precision="bf16")

    def test_auto_takes_one_that_has_the_device(self, world: World):
        world.backends["insightface"].offered = ("cuda", "cpu")
        app = load_face_analysis(device="cuda:1")
        assert app.analyzer.backend.name == "insightface"
        assert "onnxruntime: has no device cuda:1, only cpu" in app.why

    def test_where_none_has_the_device_the_best_says_itself_what_it_could_not_do(
        self, world: World
    ):
        world.backends["torch"] = Backend("torch")
        app = load_face_analysis(device="cuda")
        assert app.analyzer.backend.name == "onnxruntime"
        assert app.analyzer.placement.device == "cuda" and "no backend has" in app.why


class TestPlacement:
    @pytest.fixture(autouse=True)
    def installed(self, world: World) -> None:
        world.install("mine")

    @pytest.mark.parametrize(
        ("offered", "device", "precision"),
        [
            (("cpu",), "cpu", "fp32"),
            (("cpu", "cuda"), "cuda", "fp16"),
            (("tensorrt", "cuda", "cpu"), "cuda", "fp16"),
            (("coreml", "cpu"), "cpu", "fp32"),
            (("directml", "cpu"), "directml", "fp16"),
        ],
    )
    def test_auto(self, world: World, offered: tuple[str, ...], device: str, precision: str):
        world.backends["onnxruntime"].offered = offered
        assert load_face_analysis().analyzer.placement == Placement(device, precision)

    def test_what_is_chosen_goes_to_the_backend_as_it_is(self, world: World):
        """Also a device that is not offered: the backend says whether and why it falls back."""
        app = load_face_analysis(device="cuda:1", precision="fp32", strict=True)
        assert app.analyzer.placement == Placement("cuda:1", "fp32", strict=True)

    @pytest.mark.parametrize(
        ("choice", "says"),
        [
            ({"device": "gpu"}, "'gpu'.*'cuda'"),
            ({"device": ""}, "''.*'cpu'"),
            ({"precision": "int4"}, "'int4'.*'fp32'.*'onnxruntime' on cpu"),
            ({"precision": "fp16"}, "'fp16'.*'fp32'.*on cpu"),
            ({"detection": "best"}, "'best'.*'standard'"),
            ({"det_size": 0}, "0.*multiple of 32"),
            ({"det_size": 650}, "650.*multiple of 32"),
            ({"det_threshold": -0.1}, "-0.1"),
            ({"det_threshold": 1.5}, "1.5"),
            ({"det_threshold": float("nan")}, "nan"),
            ({"max_faces": -1}, "-1.*0"),
        ],
        ids=str,
    )
    def test_a_wrong_value_is_refused(self, world: World, choice: dict[str, Any], says: str):
        with pytest.raises(InvalidInput, match=f"got .*{says}"):
            load_face_analysis(**choice)


class TestLoaded:
    @pytest.fixture(autouse=True)
    def installed(self, world: World) -> None:
        world.install("mine")

    def test_each_call_gives_an_object_of_its_own_over_shared_models(self, world: World):
        first, second = load_face_analysis(), load_face_analysis(det_size=320, max_faces=3)
        assert first is not second and first.analyzer is second.analyzer
        assert (first.det_size, second.det_size) == ((640, 640), (320, 320))
        assert world.backends["onnxruntime"].opened == [], "nothing is opened before it is needed"

    @pytest.mark.parametrize(
        "choice", [{"strict": True}, {"device": "cuda"}, {"device": "cuda", "strict": True}]
    )
    def test_what_may_run_elsewhere_is_found_out_at_once(self, world: World, choice: Any):
        world.backends["onnxruntime"].offered = ("cuda", "cpu")
        load_face_analysis(backend="onnxruntime", **({"device": "cpu"} | choice))
        assert [task for _, task, _ in world.backends["onnxruntime"].opened] == ["detection"]

    def test_heads_are_the_tasks_that_are_offered(self, world: World):
        world.install("mine", "detection", "genderage", "recognition")
        app = load_face_analysis(heads="recognition")
        assert list(app.models) == ["detection", "recognition"]
        assert "genderage: left out by heads" in describe_loaded(app)
        assert list(load_face_analysis(heads="all").models) == [
            "detection",
            "genderage",
            "recognition",
        ]
        with pytest.raises(InvalidInput, match="genderage was left out by heads"):
            app.describe(Images([], bgr=False), Faces.empty(), ["genderage"])

    @pytest.mark.parametrize(
        ("detection", "sizes"),
        [("standard", ((320, 320),)), ("auto", ((128, 128), (640, 640)))],
    )
    def test_settings(self, world: World, detection: str, sizes: Any):
        app = load_face_analysis(detection=detection, det_size=320, det_threshold=0.3, max_faces=2)
        assert app.options().sizes_wh == app.det_model.input_sizes == sizes
        assert app.options().threshold == app.det_thresh == 0.3
        assert app.max_faces == 2

    def test_no_threshold_takes_the_packs_own(self, world: World):
        pack: Any = world.installed["mine"]
        world.installed["mine"] = replace(pack, det_threshold=0.7)
        assert load_face_analysis(det_threshold=0).det_thresh == 0.7
        assert load_face_analysis(det_threshold=0.2).det_thresh == 0.2

    def test_description(self, world: World):
        app = load_face_analysis(det_size=320, det_threshold=0.3, max_faces=2)
        text = describe_loaded(app)
        for part in (
            "pack: mine in ",
            str(world.folder),
            "licence: unknown",
            "backend: onnxruntime (auto",
            "asked for: cpu, fp32",
            "detection: opened when first needed, on cpu",
            "recognition: opened when first needed",
            "320 x 320, threshold 0.3, faces an image: 2",
        ):
            assert part in text
        app.analyzer.model("recognition")
        assert "recognition: runs on fake on cpu" in describe_loaded(app)

    def test_description_says_what_is_not_there(self, world: World):
        world.install("half", "detection")
        text = describe_loaded(load_face_analysis(model_pack="half", strict=True))
        assert "no recognition model" in text and "strict" in text and "no limit" in text


class TestSettings:
    @pytest.fixture(autouse=True)
    def installed(self, world: World) -> None:
        world.install("mine", "detection", "genderage", "recognition")

    def test_only_the_backends_they_name_may_run(self, world: World, monkeypatch):
        monkeypatch.setenv("FASTFACE_BACKENDS", "zebra,insightface")
        app = load_face_analysis()
        assert app.analyzer.backend.name == "insightface"
        assert "passed over onnxruntime: FASTFACE_BACKENDS allows only zebra" in app.why
        with pytest.raises(BackendUnavailable, match="FASTFACE_BACKENDS allows only zebra"):
            load_face_analysis(backend="onnxruntime")

    def test_backends_that_there_are_not_are_named(self, world: World, monkeypatch):
        monkeypatch.setenv("FASTFACE_BACKENDS", "zebra,lion")
        with pytest.raises(WrongSetting, match="FASTFACE_BACKENDS names lion, expected some of"):
            load_face_analysis()

    def test_every_wrong_one_is_named_whatever_is_chosen(self, world: World, monkeypatch):
        monkeypatch.setenv("FASTFACE_CACHE_MEM_LIMIT", "1,5GB")
        monkeypatch.setenv("FASTFACE_DET_SIZE", "x")
        with pytest.raises(WrongSetting, match=r"DET_SIZE is 'x'.*CACHE_MEM_LIMIT is '1,5GB'"):
            load_face_analysis(model_pack="mine", backend="onnxruntime", det_size=640, max_faces=1)

    def test_the_cpu_is_taken_where_no_gpu_is_wanted(self, world: World, monkeypatch):
        world.backends["torch"] = Backend("torch")
        for backend in world.backends.values():
            backend.offered = ("cuda", "cpu")
        assert load_face_analysis().analyzer.placement.device == "cuda"
        monkeypatch.setenv("FASTFACE_PROFILE", "cpu")
        app = load_face_analysis()
        assert (app.analyzer.backend.name, app.analyzer.placement.device) == ("onnxruntime", "cpu")
        assert load_face_analysis(device="cuda").analyzer.placement.device == "cuda"

    def test_size_and_number_of_faces_where_nothing_is_said(self, world: World, monkeypatch):
        monkeypatch.setenv("FASTFACE_DET_SIZE", "320")
        monkeypatch.setenv("FASTFACE_MAX_FACES", "3")
        app = load_face_analysis()
        assert (app.det_size, app.max_faces) == ((320, 320), 3)
        app = load_face_analysis(det_size=640, max_faces=5)
        assert (app.det_size, app.max_faces) == ((640, 640), 5)

    def test_no_heads_but_those_they_name(self, world: World, monkeypatch):
        monkeypatch.setenv("FASTFACE_HEADS", "recognition")
        assert list(load_face_analysis().models) == ["detection", "recognition"]
        assert list(load_face_analysis(heads="detection").models) == ["detection"]
        with pytest.raises(InvalidInput, match="FASTFACE_HEADS allows only recognition"):
            load_face_analysis(heads="genderage")
