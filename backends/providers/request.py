"""What is asked of ONNX Runtime for each execution provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ...utils.devices import DeviceWord
from ...utils.modules import has_module
from ...utils.settings import settings
from .provider_table import CPU, PROVIDERS, ProviderRow, device_name, row_of_device

#: The runtime refuses to create a session that would leave a node to the CPU.
NO_CPU_FALLBACK = "session.disable_cpu_ep_fallback"
#: The runtime remembers which provider took which node (1.24 and newer; older ones ignore it).
RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"

#: How many times the size of a graph a session takes of RAM while it is opened: the file, the
#: weights, and those it lays out anew. ResNet100 takes 3.2; see `benchmarks/opening.py`.
OPENING_FACTOR = 3.2


#: Listed by every onnxruntime, for models that run on a server of Azure's: it runs none here.
_REMOTE = "azure"


def listed_providers(runtime: ModuleType) -> frozenset[str]:
    """Providers the runtime knows, built in or as a registered plugin; knowing is no promise."""
    plugins = runtime.get_ep_devices() if hasattr(runtime, "get_ep_devices") else ()
    return frozenset(runtime.get_available_providers()) | {device.ep_name for device in plugins}


def available_devices(
    runtime: ModuleType, installed: Callable[[str], bool] = has_module
) -> tuple[DeviceWord, ...]:
    """Devices that may be asked for, best first.

    Args:
        runtime: The onnxruntime module.
        installed: Tells whether a plugin's module is there. Plugins are only registered when they
            are asked for: loading one costs a second and hundreds of megabytes.
    """
    listed = listed_providers(runtime)
    takes_plugins = hasattr(runtime, "register_execution_provider_library")
    return tuple(
        row.device
        for row in PROVIDERS
        if row.provider in listed or (row.plugin and takes_plugins and installed(row.plugin))
    )


def provider_options(
    row: ProviderRow, index: int = 0, cache_folder: Path | None = None
) -> dict[str, str]:
    """Options a provider is created with, the settings' limit of GPU memory among them.

    Args:
        index: Which of several such devices.
        cache_folder: Where compiled engines are kept; None keeps none.
    """
    options = dict(row.options)
    if row.indexed:
        options["device_id"] = str(index)
    limit = settings().gpu_mem_limit
    if limit and row.limit_option:
        options[row.limit_option] = str(int(limit))
    if cache_folder is not None:
        cached = row.cache_options.items()
        options |= {name: value.format(cache_folder) for name, value in cached}
    return options


def session_request(
    row: ProviderRow,
    index: int,
    strict: bool,
    listed: frozenset[str],
    cache_folder: Path | None = None,
) -> tuple[list[tuple[str, dict[str, str]]], dict[str, str]]:
    """What to ask the runtime for.

    Args:
        listed: What the runtime knows; it prints complaints about any other provider.

    Returns:
        Providers with their options, in order of preference, and session config entries. A strict
        request doesn't list the CPU: the runtime refuses the two together.
    """
    if row.provider == CPU:
        return [(CPU, {})], {RECORD_ASSIGNMENT: "1"}
    helpers = [helper for helper in map(row_of_device, row.helpers) if helper.provider in listed]
    providers = [
        (entry.provider, provider_options(entry, index, cache_folder)) for entry in (row, *helpers)
    ]
    if strict:
        return providers, {RECORD_ASSIGNMENT: "1", NO_CPU_FALLBACK: "1"}
    return [*providers, (CPU, {})], {RECORD_ASSIGNMENT: "1"}


def attempts(
    row: ProviderRow, strict: bool, listed: frozenset[str]
) -> tuple[tuple[ProviderRow, bool], ...]:
    """Sessions to try until one opens: provider, and whether the request is strict.

    A strict request is refused for a single node on the CPU, those that compute shapes included,
    which the runtime never leaves on a GPU. The relaxed one that follows it serves to judge nodes
    one by one.
    """
    if row.provider == CPU:
        return ((row, strict),)
    if strict:
        tries = [(row, True), (row, False)]
    else:
        tries = [(entry, False) for entry in (row, *map(row_of_device, (*row.helpers, "cpu")))]
    return tuple((entry, as_strict) for entry, as_strict in tries if entry.provider in listed)


def devices_of_providers(
    providers: Any, provider_options: Any = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The devices that a caller of ONNX Runtime asks for, and what of it says nothing.

    Callers write providers in every form that the runtime takes, and in some that it only prints a
    complaint about: whatever can be understood is.

    Args:
        providers: A name, or a sequence of names and of pairs of a name and options. A name is one
            of the runtime's in any case, or a device word, such as `cuda`; None says nothing.
        provider_options: Options of each of them, as InferenceSession takes them beside the names.

    Returns:
        Devices in the order of preference, such as `cuda:0`, and a line on each entry that is no
        provider or has options that mean nothing.
    """
    entries = [providers] if isinstance(providers, str) else _listed(providers)
    beside = _listed(provider_options)
    devices: list[str] = []
    odd: list[str] = []
    for place, entry in enumerate(entries):
        name, *rest = _listed(entry) or [None]
        options = rest[0] if rest else beside[place] if place < len(beside) else None
        row = _row_named(name)
        if row is None:
            if _word(name) != _REMOTE:
                odd.append(f"{entry!r} is no execution provider")
            continue
        index, problem = _index_in(options)
        if problem and row.indexed:
            odd.append(f"{row.provider}: {problem}, so the first one is meant")
        devices.append(device_name(row, index))
    return tuple(dict.fromkeys(devices)), tuple(odd)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]


def _word(name: Any) -> str:
    """A provider's name without its ending, in small letters."""
    return str(name).strip().lower().removesuffix("executionprovider")


def _row_named(name: Any) -> ProviderRow | None:
    if not isinstance(name, str):
        return None
    word = _word(name)
    return next((row for row in PROVIDERS if word in (row.device, _word(row.provider))), None)


def _index_in(options: Any) -> tuple[int, str]:
    """The `device_id` of a provider's options, and what is wrong with it; 0 where it says none."""
    if not isinstance(options, Mapping):
        return 0, "" if options is None else f"got options {options!r}, expected a dictionary"
    given = options.get("device_id")
    if given is None or given == "":
        return 0, ""
    text = str(given).strip()
    if text.isdecimal():
        return int(text), ""
    return 0, f"got device_id {given!r}, expected a whole number from 0"
