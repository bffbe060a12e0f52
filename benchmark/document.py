"""Everything of several results as one document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .result_text import as_markdown
from .targets import TARGETS, measured_of, targets_table

#: Targets that no measurement of speed covers; the tests hold them where they can be held.
_ELSEWHERE = (
    "recall of turned and zoomed faces",
    "memory after models were unloaded",
    "memory over 10,000 frames",
    "equal results from 8 threads",
)
#: Where nobody has measured yet.
_NEVER = "Windows, macOS, AMD, Intel and Apple devices"


def results_document(results: Sequence[Mapping[str, Any]], pictures: Sequence[str]) -> str:
    """Everything of several results as one Markdown document.

    Args:
        results: Of one machine or several.
        pictures: The chart's file name of each.
    """
    parts = [
        "# What was measured",
        "Compare only within a run: each has its machine, its versions and its noise.",
        "## Against the targets",
        targets_table(results),
        "## Not measured",
        "\n".join(f"- {line}" for line in _not_measured(results)),
    ]
    for number, (result, picture) in enumerate(zip(results, pictures, strict=True), start=1):
        parts += [f"## Run {number}: {result['weights']['label']}", f"![chart]({picture})"]
        parts.append(as_markdown(result).strip())
    return "\n\n".join(parts) + "\n"


def _not_measured(results: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [target.what for target in TARGETS if not list(measured_of(target, results))]
    lines += [f"{what} (not part of this benchmark)" for what in _ELSEWHERE]
    lines.append(_NEVER)
    reasons = {
        f"{row['label']}: {row['reason']}"
        for result in results
        for case in result["cases"]
        for row in case["rows"]
        if row["state"] != "measured"
    }
    return lines + sorted(reasons)
