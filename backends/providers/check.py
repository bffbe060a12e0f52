"""Which provider really took a session, and why it is not the one that was asked for."""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..placement import RunsOn
from .provider_table import CPU, ProviderRow, device_name, row_of_provider

#: Distributions named onnxruntime-... that live beside the runtime instead of replacing it.
_ADD_ONS = ("onnxruntime-ep-", "onnxruntime-extensions", "onnxruntime-genai", "onnxruntime-tools")

#: Operators that compute shapes. What stays on the CPU of only these is no fallback: the runtime
#: puts them there on purpose, their data being a few integers. Arithmetic is among them: a provider
#: that takes a graph's convolutions takes its float arithmetic too; what it leaves is on integers.
_SHAPE_OPERATORS = frozenset(
    {
        *("Shape", "Size", "Constant", "ConstantOfShape", "Range", "Identity", "Cast"),
        *("Gather", "Slice", "Concat", "Squeeze", "Unsqueeze", "Reshape", "Expand"),
        *("Add", "Sub", "Mul", "Div", "Floor", "Ceil", "ReduceProd", "Where", "Equal"),
    }
)


@dataclass(frozen=True)
class Circumstances:
    """What is known about this machine when a provider didn't take a session.

    Attributes:
        listed: Providers the runtime knows.
        distributions: Name and version of every installed onnxruntime distribution.
        system: `platform.system()`.
        failure: What the runtime or the loader said; empty when they said nothing.
        missing_library: Why the provider's library does not load; empty when it does.
        missing_gpu: Why NVIDIA's driver offers no such GPU; empty when it does.
    """

    listed: frozenset[str]
    distributions: Sequence[tuple[str, str]] = ()
    system: str = ""
    failure: str = ""
    missing_library: str = ""
    missing_gpu: str = ""


def pip(arguments: str) -> str:
    """The pip command of the interpreter that runs."""
    return f'"{sys.executable}" -m pip {arguments}'


@functools.cache
def installed_distributions(path: tuple[str, ...] | None = None) -> tuple[tuple[str, str], ...]:
    """Name and version of every installed distribution that brings the module `onnxruntime`.

    Remembered: what is installed while ComfyUI runs counts after its next start.

    Args:
        path: Folders to look in instead of `sys.path`.
    """
    every = importlib.metadata.distributions
    found: dict[str, str] = {}
    for distribution in every() if path is None else every(path=list(path)):
        # Half-removed distributions leave folders without a name behind.
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        if name.startswith(("onnxruntime", "ort-nightly")) and not name.startswith(_ADD_ONS):
            # An earlier folder of the path hides the same distribution in a later one.
            found.setdefault(name, distribution.version)
    return tuple(sorted(found.items()))


def conflict(distributions: Sequence[tuple[str, str]], wanted: str | None = None) -> str | None:
    """Names onnxruntime distributions that overwrite each other, and the command that mends it.

    Args:
        distributions: As from `installed_distributions`.
        wanted: The distribution to keep; without it, one that is more than the plain CPU build.

    Returns:
        One sentence, or None when no more than one is installed.
    """
    if len(distributions) < 2:
        return None
    names = [name for name, _ in distributions]
    keep = wanted or next((name for name in names if name != "onnxruntime"), "onnxruntime")
    shown = " and ".join(f"{name} {version}" for name, version in distributions)
    return (
        f"{shown} are installed at once and overwrite each other's files; "
        f"mend it with: {_replace(distributions, keep)}"
    )


def _replace(distributions: Sequence[tuple[str, str]], wanted: str) -> str:
    """The command that leaves one distribution in place of all that are installed."""
    # Removing one of several takes files of the others along: all go, then one comes.
    names = " ".join(name for name, _ in distributions)
    install = pip(f"install {wanted}")
    return f"{pip(f'uninstall -y {names}')} && {install}" if names else install


def read_assignment(session: Any) -> Counter[tuple[str, str]] | None:
    """How many nodes of each operator each provider took: `(provider, operator)` to count.

    Args:
        session: An InferenceSession opened with `RECORD_ASSIGNMENT`.

    Returns:
        None where the runtime is too old to tell.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    return Counter(
        (part.ep_name, node.op_type)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    )


def resolve_actual_provider(
    asked: ProviderRow,
    index: int,
    providers: Sequence[str],
    assignment: Counter[tuple[str, str]] | None,
    circumstances: Circumstances,
) -> RunsOn:
    """What a session really runs on.

    Args:
        asked: The provider that was wanted.
        index: Which of several such devices.
        providers: `session.get_providers()`.
        assignment: As from `read_assignment`.
        circumstances: What explains a difference.

    Returns:
        With a note when it is not what was asked for.
    """
    taken = _nodes_by_provider(assignment)
    got = providers[0]
    if got == asked.provider and taken and not taken[got]:
        # Accepted the session and took nothing: what counts is where the nodes are.
        got = taken.most_common(1)[0][0]
    share = taken[got] / taken.total() if taken else 1.0 if got == CPU else None
    where = device_name(row_of_provider(got), index)
    if got != asked.provider:
        return RunsOn(where, got, share, explain_fallback(asked, got, circumstances))
    note = _left_to_the_cpu(assignment) if assignment and got != CPU else ""
    return RunsOn(where, got, share, note)


def _nodes_by_provider(assignment: Counter[tuple[str, str]] | None) -> Counter[str]:
    taken: Counter[str] = Counter()
    for (provider, _), count in (assignment or {}).items():
        taken[provider] += count
    return taken


def _left_to_the_cpu(assignment: Counter[tuple[str, str]]) -> str:
    """Says which nodes run on the CPU, unless they only compute shapes."""
    left = Counter({op: count for (name, op), count in assignment.items() if name == CPU})
    if _SHAPE_OPERATORS.issuperset(left):
        return ""
    kinds = ", ".join(f"{count} {op}" for op, count in left.most_common(4))
    return (
        f"{left.total()} of {assignment.total()} nodes run on the CPU ({kinds}): the provider has "
        "no kernel for them; update onnxruntime, or choose the torch backend, which runs all of "
        "the graph on one device"
    )


def explain_fallback(asked: ProviderRow, got: str, facts: Circumstances) -> str:
    """Why a provider didn't take a session, and what mends it.

    Args:
        asked: The provider that was wanted.
        got: The one that took it.
        facts: What is known about this machine.
    """
    several = conflict(facts.distributions, asked.distribution if not asked.plugin else None)
    reasons = [*_reasons(asked, facts), *([several] if several else [])]
    if not reasons:
        device = row_of_provider(got).device
        reasons = [f"the runtime gave no reason; see its log on stderr, or choose device {device}"]
    return "; ".join(reasons)


def _reasons(asked: ProviderRow, facts: Circumstances) -> Iterable[str]:
    if asked.system and asked.system != facts.system:
        yield f"{asked.provider} exists on {asked.system} only, and this is {facts.system}"
        return
    if asked.provider not in facts.listed:
        yield from _why_unlisted(asked, facts)
        return
    if facts.missing_gpu:
        yield facts.missing_gpu
    if facts.missing_library:
        wanted = " ".join(f'"{name}"' for name in asked.libraries_from)
        remedy = f"; install what it needs with: {pip(f'install {wanted}')}" if wanted else ""
        yield f"its libraries do not load ({facts.missing_library}){remedy}"
    elif facts.failure:
        yield f"the runtime says: {facts.failure}"


def _why_unlisted(asked: ProviderRow, facts: Circumstances) -> Iterable[str]:
    installed = " and ".join(f"{name} {version}" for name, version in facts.distributions)
    if asked.plugin and facts.failure:
        yield f"its plugin does not load: {facts.failure}"
    elif asked.plugin:
        install = pip(f"install {asked.distribution}")
        yield f"it comes as a plugin, which is not installed; get it with: {install}"
    elif len(facts.distributions) < 2:
        yield (
            f"{installed or 'this onnxruntime'} is built without it; get one that has it with: "
            f"{_replace(facts.distributions, asked.distribution)}"
        )
    if facts.missing_gpu:
        yield facts.missing_gpu
