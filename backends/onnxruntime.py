"""Backend `onnxruntime`: the pack's graphs on the execution providers of ONNX Runtime."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ..utils import host
from ..utils.cores import usable_cores, why_not_native
from ..utils.devices import DeviceWord
from ..utils.errors import BackendUnavailable, ModelError, OutOfMemory
from ..utils.files import is_text
from ..utils.free_memory import is_out_of_memory
from ..utils.packs import ModelFile
from ..utils.precision import Precision
from ..utils.settings import settings
from .base import GraphBackend
from .interfaces import Session
from .onnx_graphs.batched import BatchedGraph, batched_graph
from .onnx_graphs.cpu_optimized import tuned_graph
from .onnx_graphs.foreign import foreign_graph
from .onnx_graphs.graph import self_contained
from .onnx_graphs.int8_graphs import opened_graphs
from .placement import Placement, RunsOn
from .providers import provider_probe
from .providers.check import (
    conflict,
    explain_fallback,
    installed_distributions,
    pip,
    read_assignment,
    resolve_actual_provider,
)
from .providers.provider_table import CPU, ProviderRow, device_name, parse_device, row_of_provider
from .providers.request import OPENING_FACTOR, attempts, listed_providers, session_request
from .sessions.open_batched import open_batched
from .sessions.ort_session import OrtSession

_log = logging.getLogger("FastFace")

_LOG_ERRORS = 3
#: Threads spin within a run, where waking them for each operator would cost more, and stop with it:
#: else the pools of a detector's and a recogniser's session take each other's cores. Detection and
#: 6 recognitions on 2 cores: 96 ms spinning on, 73 ms never spinning, 64 ms stopping.
_FEW_CORES = {
    "session.intra_op.allow_spinning": "1",
    "session.force_spinning_stop": "1",
    "session.inter_op.allow_spinning": "0",
}
#: What the runtime says of graphs that are newer than itself or use operators it hasn't got.
_NEEDS_NEWER_RUNTIME = (
    "under development and support for this is limited",
    "Unsupported model IR version",
    "is not a registered function/op",
    "No Op registered for",
    "Could not find an implementation for",
)
#: Names of the runtime's errors that are about the file, whatever the provider.
_DAMAGED = frozenset({"InvalidProtobuf", "InvalidGraph", "NoModel", "NoSuchFile"})
_PACK_FOLDER = Path(__file__).parent.parent


class OnnxRuntimeBackend(GraphBackend):
    """Runs ONNX graphs as they are, and says where they really run."""

    name = "onnxruntime"
    opening_factor = OPENING_FACTOR
    explains_missing_devices = True

    def __init__(self, cache_folder: Path | None = None) -> None:
        """`cache_folder`: where providers that compile keep engines; by default the pack's own."""
        self._cache_folder = cache_folder
        self._said: set[str] = set()

    def why_unavailable(self) -> str | None:
        remedy = f"run `python install.py` in {_PACK_FOLDER} with the Python of ComfyUI"
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            if error.name != "onnxruntime":
                return f"onnxruntime needs the module {error.name!r}, which is missing; {remedy}"
            return f"onnxruntime is not installed; {remedy}"
        # What wheels built for another Python, numpy or set of system libraries raise.
        except (ImportError, OSError, AttributeError, RuntimeError, ValueError) as error:
            return f"onnxruntime is installed but does not load ({error}); {remedy}"
        if not hasattr(onnxruntime, "InferenceSession"):
            return (
                "onnxruntime is only a remainder of an earlier installation (it has no "
                f"InferenceSession); {remedy}"
            )
        return None

    def devices(self) -> tuple[DeviceWord, ...]:
        if self.why_unavailable():
            return ()
        import onnxruntime

        return provider_probe.usable_devices(onnxruntime)

    def precisions(self, device: str) -> tuple[Precision, ...]:
        row, _ = parse_device(device)
        if row.provider == CPU and why_not_native("int8") is None:
            return (*row.precisions, "int8")
        return row.precisions

    def proven_precisions(self, device: str) -> tuple[Precision, ...]:
        return ("int8",) if "int8" in self.precisions(device) else ()

    def why_not_offered(self, precision: Precision, device: str) -> str:
        is_cpu = parse_device(device)[0].provider == CPU
        reason = why_not_native(precision) if is_cpu and precision == "int8" else None
        return reason or super().why_not_offered(precision, device)

    def open_session(self, model: ModelFile, placement: Placement) -> Session:
        """Opens one graph and finds out what runs it.

        A graph that can't be given a batch axis is run one image at a time; graphs in fp16 run in
        fp16 whatever the precision.

        Raises:
            BackendUnavailable: The runtime is missing, doesn't offer the precision, or `strict`
                can't be kept.
            InvalidInput: There is no such device.
            ModelError: The file is missing, damaged, or nothing this runtime can run.
        """
        row, index = parse_device(placement.device)
        if reason := self.why_unavailable():
            raise BackendUnavailable(reason)
        precision, offered = placement.precision_of(model.task), self.precisions(placement.device)
        if precision not in offered:
            raise BackendUnavailable(
                f"onnxruntime on {row.device}: got precision {precision!r}, offered: "
                f"{', '.join(offered)}; choose that, or the torch backend for others"
            )
        if not model.path.is_file():
            raise ModelError(f"{model.path} is not there; download the pack again")

        graphs = opened_graphs(model, placement)

        def open_graph(path: Path, note: str) -> OrtSession:
            file, precision = graphs.of(path)
            notes = "; ".join(text for text in (graphs.note, note) if text)
            session = self._open(file, model.path, row, index, placement.strict, notes)
            if precision == "int8":
                session.runs_on = replace(session.runs_on, precision=precision)
            return session

        # What is quantised is the graph with a batch axis, without what is rewritten for fp32.
        prepare = partial(_prepared, model, row, tune=not graphs.int8)
        return open_batched(model, prepare, open_graph, row.any_size)

    def _open(
        self, graph: Path, file: Path, row: ProviderRow, index: int, strict: bool, note: str
    ) -> OrtSession:
        """`graph` is opened; `file`, which it was made of, is what users know.

        `note` is what is to be said of it besides.
        """
        import onnxruntime as runtime

        errors = provider_probe.runtime_errors(runtime)
        failures = [text for text in [provider_probe.prepare(runtime, row)] if text]
        listed = listed_providers(runtime)
        raw, verified = None, True
        whole = self_contained(graph)
        for candidate, as_strict in attempts(row, strict, listed):
            try:
                raw = self._create(runtime, whole, candidate, index, as_strict, listed)
                verified = as_strict or not strict
                break
            except errors as error:
                if is_out_of_memory(error):
                    raise OutOfMemory(
                        f"{file.name}: {candidate.provider} has too little memory to open it "
                        f"({error}): free memory by unloading models or closing other programs"
                    ) from error
                if bad_file := _bad_file(file, candidate, error):
                    raise bad_file from error
                # A strict refusal names no node; the attempt that follows it shows which.
                if not as_strict:
                    failures.append(f"{candidate.provider}: {error}")

        facts = provider_probe.circumstances(runtime, row, index, failures[0] if failures else "")
        asked = f"{file.name}: asked for {device_name(row, index)} ({row.provider})"
        if raw is None:
            reason = explain_fallback(row, CPU, facts)
            raise BackendUnavailable(f"{asked}, which can't run it: {reason}")
        assignment = read_assignment(raw)
        runs_on = resolve_actual_provider(row, index, raw.get_providers(), assignment, facts)
        if strict and (runs_on.note or not (verified or assignment)):
            note = runs_on.note or "the CPU would get nodes, and this onnxruntime can't say which"
            raise BackendUnavailable(f"{asked} and nothing else, got {runs_on}: {note}")
        if runs_on.note:
            self._warn_once(runs_on.note, f"{asked}, got {runs_on}: {runs_on.note}")
        elif several := conflict(facts.distributions):
            self._warn_once(several, several)
        runs_on = replace(runs_on, note="; ".join(text for text in (runs_on.note, note) if text))
        return OrtSession(raw, runs_on, _binds_on(runtime, runs_on, index), file.name, errors)

    def _create(
        self,
        runtime: ModuleType,
        graph: str | bytes,
        row: ProviderRow,
        index: int,
        strict: bool,
        listed: frozenset[str],
    ) -> Any:
        """One InferenceSession; raises what the runtime raises."""
        providers, config = session_request(row, index, strict, listed, self._engine_folder(row))
        options = runtime.SessionOptions()
        options.log_severity_level = _LOG_ERRORS
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.enable_mem_pattern = row.memory_pattern
        options.intra_op_num_threads = settings().threads or usable_cores()
        options.inter_op_num_threads = 1
        for name, value in {**_FEW_CORES, **config}.items():
            options.add_session_config_entry(name, value)
        # A failing provider is ours to report: the runtime's own fallback prints to stdout, and
        # even in the middle of a run it would go on with the CPU.
        quiet = {"enable_fallback": 0}
        if row.provider in runtime.get_available_providers():
            return runtime.InferenceSession(graph, options, providers=providers, **quiet)
        # A plugin's device is picked from a list instead of by an option.
        devices = [device for device in runtime.get_ep_devices() if device.ep_name == row.provider]
        plugin_options = {k: v for k, v in providers[0][1].items() if k != "device_id"}
        options.add_provider_for_devices(devices[index : index + 1], plugin_options)
        return runtime.InferenceSession(graph, options, **quiet)

    def _engine_folder(self, row: ProviderRow) -> Path | None:
        """Where compiled engines go; None when nowhere, with a warning if that was not the plan."""
        if not row.cache_options:
            return None
        folder = (self._cache_folder or host.cache_folder() / "engines") / row.device
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK) and is_text(folder):
                return folder
            reason = "it is not writable" if is_text(folder) else "its name is no Unicode text"
        except OSError as error:
            reason = str(error)
        self._warn_once(
            str(folder),
            f"engines of {row.device} are not kept and will be built again at each start, because "
            f"{folder} can't be used: {reason}",
        )
        return None

    def _warn_once(self, reason: str, text: str) -> None:
        """Says a thing once: a pack has several models, opened again and again, and one reason."""
        if reason not in self._said:
            self._said.add(reason)
            _log.warning("onnxruntime: %s", text)


def _prepared(model: ModelFile, row: ProviderRow, tune: bool) -> BatchedGraph:
    """The graph to open: as it was released where it can't be read here, for others to judge.

    `tune` is whether it is rewritten for the CPU, where it runs on that.
    """
    graph = BatchedGraph(model.path, model.takes_batches)
    try:
        with foreign_graph(model.path, "prepared"):
            graph = batched_graph(model)
            return tuned_graph(graph, model) if tune and row.provider == CPU else graph
    except (ModelError, BackendUnavailable) as error:
        _log.debug("%s is opened as it is: %s", model.path.name, error)
        if graph.takes_batches:
            return graph
        return replace(graph, note=f"{model.path.name} runs image by image: {error}")


def _binds_on(runtime: ModuleType, runs_on: RunsOn, index: int) -> torch.device | None:
    """The CUDA device whose tensors the session can share with torch, if any."""
    value = runtime.capi.onnxruntime_pybind11_state.OrtValue
    shares = row_of_provider(runs_on.provider).binds_on == "cuda" and torch.cuda.is_available()
    # Before 1.22 the wheels can't hand device memory over; then the runtime copies.
    return torch.device("cuda", index) if shares and hasattr(value, "__dlpack__") else None


def _bad_file(path: Path, row: ProviderRow, error: Exception) -> ModelError | None:
    """The error to raise when the file is to blame rather than the provider; else None."""
    text = str(error).strip()
    if any(sign in text for sign in _NEEDS_NEWER_RUNTIME):
        installed = next((name for name, _ in installed_distributions()), "onnxruntime")
        return ModelError(
            f"{path} needs operators this onnxruntime doesn't have ({text}); "
            f"update it with: {pip(f'install --upgrade {installed}')}, or choose the torch backend"
        )
    unrunnable = row.provider == CPU
    if type(error).__name__ in _DAMAGED or "Load model from" in text or unrunnable:
        return ModelError(
            f"{path} ({path.stat().st_size} bytes) is no ONNX graph that can be run ({text}); it "
            "is damaged or something else under that name: delete it and download the pack again"
        )
    return None
