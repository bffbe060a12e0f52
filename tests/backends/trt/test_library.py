"""Which of TensorRT's libraries is used, why, and what each has to be told."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fastface.backends.trt import library
from fastface.backends.trt.library import RTX_CAPABILITIES, choose_library
from fastface.utils.errors import BackendUnavailable
from tests.backends.trt.on_stub import GEFORCE, HOPPER, TURING, library_of, put_in_place
from tests.backends.trt.record_interface import CLASSES, interface
from tests.backends.trt.stub import (
    RECORDED,
    TENSORRT_10,
    TENSORRT_11,
    TENSORRT_RTX,
    StubModule,
    recorded,
)

STUBS = (TENSORRT_10, TENSORRT_11, TENSORRT_RTX)


class TestChoice:
    @pytest.mark.parametrize(
        ("stubs", "card", "name", "why"),
        [
            ([TENSORRT_10], GEFORCE, "tensorrt 10.16", "times its kernels on this very card"),
            ([TENSORRT_11], HOPPER, "tensorrt 11.4", "H200 (sm90)"),
            ([TENSORRT_11, TENSORRT_RTX], GEFORCE, "tensorrt 11.4", "times its kernels"),
            ([TENSORRT_RTX], GEFORCE, "tensorrt_rtx 1.7", "tensorrt is not installed"),
            ([TENSORRT_RTX], None, "tensorrt_rtx 1.7", "without a GPU"),
            ([TENSORRT_11, TENSORRT_RTX], None, "tensorrt_rtx 1.7", "without a GPU"),
        ],
    )
    def test_takes_what_serves_the_card(self, monkeypatch, stubs, card, name: str, why: str):
        put_in_place(monkeypatch, [StubModule(stub) for stub in stubs], card)
        chosen = choose_library(card)
        assert str(chosen).startswith(name) and why in chosen.why

    @pytest.mark.parametrize(
        ("stubs", "card", "cuda", "reasons"),
        [
            ([], GEFORCE, "13.2", ["tensorrt is not installed", "tensorrt-rtx-cu13"]),
            ([], GEFORCE, "12.8", ["tensorrt-rtx-cu12"]),
            ([], HOPPER, "13.2", ["no kernels for H200 (sm90)", "install tensorrt-cu13"]),
            ([TENSORRT_RTX], HOPPER, "13.2", ["no kernels for H200 (sm90)", "tensorrt-cu13"]),
            ([], None, None, ["torch finds none", "tensorrt-rtx-cu13", "without a GPU"]),
            ([TENSORRT_11], None, None, ["torch finds none", "tensorrt_rtx is not installed"]),
        ],
    )
    def test_none_gives_the_remedy_for_the_card(self, monkeypatch, stubs, card, cuda, reasons):
        put_in_place(monkeypatch, [StubModule(stub) for stub in stubs], card)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        with pytest.raises(BackendUnavailable) as refused:
            choose_library(card)
        assert all(reason in str(refused.value) for reason in reasons), str(refused.value)

    def test_one_that_is_too_old_is_named(self, monkeypatch: pytest.MonkeyPatch):
        stub = StubModule(TENSORRT_10)
        stub.__version__ = "10.2.0"
        put_in_place(monkeypatch, [stub], GEFORCE)
        with pytest.raises(BackendUnavailable, match=r"tensorrt 10\.2\.0 is older than 10\.3"):
            choose_library(GEFORCE)

    def test_one_that_does_not_load_is_named(self, monkeypatch: pytest.MonkeyPatch):
        def fail(name: str) -> None:
            raise ImportError("libnvinfer.so.11: cannot open shared object file")

        put_in_place(monkeypatch, [StubModule(TENSORRT_11)], HOPPER)
        monkeypatch.setattr(library.importlib, "import_module", fail)
        with pytest.raises(BackendUnavailable, match=r"does not load \(libnvinfer\.so\.11"):
            choose_library(HOPPER)


class TestDifferences:
    @pytest.mark.parametrize("name", [name for name in RECORDED if "_rtx" not in name])
    def test_types_are_those_of_the_graph_in_every_version(self, name: str):
        stub = StubModule(name)
        flags = library_of(stub).network_flags()
        strong = 1 << int(stub.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        # 10 has other ways of typing, and takes the graph's types as hints unless it is told.
        assert flags == (strong if stub.__version__.startswith("10.") else 0)

    def test_version_11_has_no_precision_flags_and_10_has(self):
        flags = {name: recorded(name)["classes"]["BuilderFlag"]["values"] for name in RECORDED}
        assert "FP16" in flags[TENSORRT_10]
        assert "FP16" not in flags[TENSORRT_11] and "FP16" not in flags[TENSORRT_RTX]
        assert all("TF32" in values for values in flags.values())

    @pytest.mark.parametrize("name", STUBS)
    @pytest.mark.parametrize("cuda_graphs", [False, True])
    def test_contexts_take_memory_from_outside(self, name: str, cuda_graphs: bool):
        stub = StubModule(name)
        library_of(stub).create_context(stub.ICudaEngine(), cuda_graphs)
        assert stub.seen["memory"] == "USER_MANAGED"
        own = "WHOLE_GRAPH_CAPTURE" if cuda_graphs and stub.is_rtx else None
        assert stub.seen["cuda_graphs"] == own

    def test_engines_of_rtx_run_on_every_card_since_ampere(self):
        rtx, full = (library_of(StubModule(name)) for name in (TENSORRT_RTX, TENSORRT_11))
        assert rtx.device_key(GEFORCE) == rtx.device_key(None) == "sm80 and newer"
        assert rtx.device_key(TURING) == "sm75"
        assert full.device_key(GEFORCE) == "GeForce RTX 4090 (sm89)"

    def test_turing_is_aimed_at_by_name(self):
        stub = StubModule(TENSORRT_RTX)
        config = stub.IBuilderConfig()
        library_of(stub).aim(config, TURING)
        assert stub.seen["capability"] == ("SM75", 0, 1)
        stub.seen.pop("capability")
        library_of(stub).aim(config, GEFORCE)
        assert "capability" not in stub.seen

    def test_rtx_has_the_kernels_that_its_bindings_name(self):
        values = recorded(TENSORRT_RTX)["classes"]["ComputeCapability"]["values"]
        named = [int(name.removeprefix("SM")) for name in values if name.startswith("SM")]
        assert sorted(named) == sorted(RTX_CAPABILITIES)


class TestRecords:
    @pytest.mark.parametrize("name", RECORDED)
    def test_a_stub_lacks_what_its_version_lacks(self, name: str):
        stub = StubModule(name)
        fast_halves = hasattr(stub.Builder, "platform_has_fast_fp16")
        assert not fast_halves
        with pytest.raises(AttributeError, match="IBuilderConfig has no int8_calibrators"):
            stub.IBuilderConfig().int8_calibrators = None
        with pytest.raises(TypeError, match="execute_async_v3 got 2 arguments"):
            stub.IExecutionContext().execute_async_v3(1, 2)

    @pytest.mark.parametrize("module", ["tensorrt", "tensorrt_rtx"])
    def test_what_is_installed_still_has_what_was_recorded(self, module: str):
        real = pytest.importorskip(module)
        if not hasattr(real, "Builder"):
            pytest.skip(f"the module {module} is something else here")
        here = interface(real)["classes"]
        major = real.__version__.split(".")[0]
        names = [
            name
            for name in RECORDED
            if recorded(name)["module"] == module
            and recorded(name)["version"].split(".")[0] == major
        ]
        if not names:
            pytest.skip(f"{module} {major} was never recorded")
        record = recorded(names[-1])["classes"]
        assert set(record) <= set(here) <= set(CLASSES)
        for kind, told in record.items():
            for part in told:
                assert set(told[part]) <= set(here[kind][part]), kind


def test_complaints_are_told_once(caplog: pytest.LogCaptureFixture):
    lib = library_of(StubModule(TENSORRT_11))
    severity = lib.module.ILogger.Severity
    lib.logger.log(severity.ERROR, "it broke ")
    lib.logger.log(severity.INFO, "by the way")
    assert lib.complaints() == "it broke"
    assert lib.complaints() == "tensorrt gave no reason"


def test_amd_cards_are_none_of_nvidia(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.version, "hip", "7.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert library.card_here() is None


def test_the_card_is_described_as_torch_does(monkeypatch: pytest.MonkeyPatch):
    fake = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 1,
        get_device_capability=lambda index: (12, 0),
        get_device_name=lambda index: "GeForce RTX 5090",
    )
    monkeypatch.setattr(library.torch, "cuda", fake)
    assert str(library.card_here()) == "GeForce RTX 5090 (sm120)"
    assert library.card_here(1) is None
