"""Building: for real with tensorrt_rtx, which needs no GPU, and with stand-ins of the others."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from fastface.backends.onnx_graphs.batched import batched_graph
from fastface.backends.trt.build import BuildSpec, build
from fastface.backends.trt.engine_sources import graph_in
from fastface.backends.trt.library import Library
from fastface.backends.trt.profile import Profile
from fastface.benchmark.synthetic_models.detectors import SCRFD_500M, scrfd
from fastface.benchmark.synthetic_models.heads import gender_age
from fastface.benchmark.synthetic_models.recognizers import mobile_face_net
from fastface.utils.errors import BackendUnavailable, ModelError
from fastface.utils.packs.read import read_pack
from tests.backends.onnx_graphs.small_graphs import detector
from tests.backends.trt.on_stub import GEFORCE, TURING, library_of
from tests.backends.trt.stub import RECORDED, TENSORRT_10, TENSORRT_11, TENSORRT_RTX, StubModule

SHAPES = ((1, 3, 64, 64), (2, 3, 96, 96), (4, 3, 160, 160))


def order(graph: bytes | None = None, **changes: object) -> BuildSpec:
    model = detector(size_hw=("h", "w"), rank=3, leading=1)
    del model.graph.input[0].type.tensor_type.shape.dim[0]
    return BuildSpec("a.onnx", graph or model.SerializeToString(), SHAPES, 0, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A pack with each kind of network: SCRFD, ArcFace's, and one that normalises by itself."""
    folder = tmp_path_factory.mktemp("networks")
    onnx.save(scrfd(SCRFD_500M), str(folder / "det_500m.onnx"))
    onnx.save(mobile_face_net("w600k_mbf", "516"), str(folder / "w600k_mbf.onnx"))
    onnx.save(gender_age(), str(folder / "genderage.onnx"))
    return {"folder": folder}


class TestForReal:
    @pytest.mark.parametrize("precision", ["fp32", "fp16"])
    def test_every_kind_of_network_builds_with_a_dynamic_batch(
        self, rtx: Library, networks: dict[str, Path], precision: str
    ):
        pack = read_pack("networks", networks["folder"])
        assert set(pack.tasks) == {"detection", "genderage", "recognition"}
        for model in pack.models:
            prepared = batched_graph(model)
            assert prepared.takes_batches
            graph, kept = graph_in(precision, prepared)
            assert bool(kept) == (precision == "fp16")
            shapes = Profile().shapes(model, True)
            heard: list[float] = []
            wanted = BuildSpec(model.path.name, graph, shapes, 0)
            built = build(rtx, None, wanted, heard.append)
            assert len(built.engine) > model.path.stat().st_size // 3
            assert heard == sorted(heard) and 0 <= heard[0] < heard[-1] <= 1 and len(heard) > 20

    def test_an_interruption_ends_it(self, rtx: Library, networks: dict[str, Path]):
        class Stopped(Exception):
            pass

        heard: list[float] = []

        def stop(share: float) -> None:
            heard.append(share)
            if len(heard) == 10:
                raise Stopped

        model = read_pack("networks", networks["folder"]).model("detection")
        graph = batched_graph(model).path.read_bytes()
        wanted = BuildSpec("det_500m.onnx", graph, Profile().shapes(model, True), 0)
        with pytest.raises(Stopped):
            build(rtx, None, wanted, stop)
        assert len(heard) == 10
        build(rtx, None, wanted, lambda share: None)

    def test_what_is_no_graph_is_refused(self, rtx: Library):
        with pytest.raises(ModelError, match=r"tensorrt_rtx .* can't read a\.onnx"):
            build(rtx, None, order(b"no graph at all"), lambda share: None)

    def test_too_little_workspace_is_told(self, rtx: Library, networks: dict[str, Path]):
        model = read_pack("networks", networks["folder"]).model("detection")
        graph = batched_graph(model).path.read_bytes()
        wanted = BuildSpec("det_500m.onnx", graph, Profile().shapes(model, True), 1 << 20)
        with pytest.raises(
            BackendUnavailable, match=r"workspace limit.*smaller profile or more work"
        ):
            build(rtx, None, wanted, lambda share: None)


@pytest.mark.parametrize("name", RECORDED)
class TestEveryVersion:
    def test_what_is_asked_of_it(self, name: str):
        stub = StubModule(name)
        heard: list[float] = []
        wanted = BuildSpec("a.onnx", order().graph, SHAPES, 1 << 20)
        built = build(library_of(stub), GEFORCE, wanted, heard.append)
        assert heard == [0.125, 0.25, 0.375, 0.5]
        assert stub.seen["workspace"] == ("WORKSPACE", 1 << 20)
        assert stub.seen["flags_cleared"] == ["TF32"]
        assert stub.seen["network_flags"] == library_of(stub).network_flags()
        # tensorrt_rtx chooses its kernels later, on the user's card.
        assert built.timings == (b"" if stub.is_rtx else b"timed;")

    def test_timings_are_used_again_unless_they_are_of_another_card(self, name: str):
        stub = StubModule(name)
        again = build(library_of(stub), GEFORCE, order(timings=b"before;"), lambda share: None)
        assert again.timings == (b"" if stub.is_rtx else b"before;timed;")
        foreign = order(timings=b"of another card")
        anew = build(library_of(stub), GEFORCE, foreign, lambda share: None)
        assert anew.timings == (b"" if stub.is_rtx else b"timed;")

    @pytest.mark.parametrize(
        ("step", "error", "said"),
        [
            ("parse", ModelError, "Frobnicate"),
            ("profile", BackendUnavailable, "choose other sizes"),
            ("build", BackendUnavailable, "no kernel was found.*more workspace"),
        ],
    )
    def test_what_fails_is_told(self, name: str, step: str, error: type[Exception], said: str):
        stub = StubModule(name)
        stub.fails.add(step)
        with pytest.raises(error, match=rf"{stub.__name__} {stub.__version__} can't.*{said}"):
            build(library_of(stub), GEFORCE, order(), lambda share: None)


def test_turing_gets_a_build_of_its_own():
    stub = StubModule(TENSORRT_RTX)
    build(library_of(stub), TURING, order(), lambda share: None)
    assert stub.seen["capability"] == ("SM75", 0, 1)


def test_version_10_types_strongly_and_11_is_not_told_to():
    flags = {}
    for name in (TENSORRT_10, TENSORRT_11):
        stub = StubModule(name)
        build(library_of(stub), GEFORCE, order(), lambda share: None)
        flags[name] = stub.seen["network_flags"]
    assert flags == {TENSORRT_10: 2, TENSORRT_11: 0}
