"""The input of nodes that take a model pack: which packs there are, and which must be got first."""

from __future__ import annotations

from typing import Any

from ..utils import host


def pack_input(tooltip: str) -> tuple[list[str], dict[str, Any]]:
    """The declaration of a `model_pack` input.

    The values are the packs' names, whether installed or not, so that workflows stay as they are.
    `web/js/pack_labels.js` shows which are to be downloaded; front ends that show values as they
    are (1.27) have it in the tooltip. Of packs to download it also shows which are not for
    commercial use; what an installed folder holds, its name does not say.

    Args:
        tooltip: What the input is for.
    """
    from ..pipeline.pack_choice import installed_pack_names, pack_names
    from ..utils.packs.licences import commercial_packs

    roots = host.insightface_roots()
    installed = set(installed_pack_names(roots))
    names = pack_names(roots)
    to_download = [name for name in names if name not in installed]
    if to_download:
        tooltip = f"{tooltip} Not installed here: {', '.join(to_download)}."
    commercial = commercial_packs()
    tooltip = f"{tooltip} Free for commercial use, as released: {', '.join(commercial)}."
    options = {
        "tooltip": tooltip,
        "to_download": to_download,
        "non_commercial": [name for name in to_download if name not in commercial],
    }
    return names, options
