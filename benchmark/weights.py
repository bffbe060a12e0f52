"""Which weights a run uses: the user's, or random ones in the released layer sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..pipeline.choices import AUTO
from ..pipeline.pack_choice import backend_packs, obtain_backend_pack
from ..utils import host
from ..utils.errors import ModelError
from ..utils.packs import ModelPack
from ..utils.packs.find import find_packs, load_pack
from ..utils.packs.known import KNOWN_PACKS
from ..utils.packs.read import RANDOM_WEIGHTS_MARKER, read_pack

#: Chooses a pack of random weights: `random:antelopev2`.
RANDOM_PREFIX = "random:"
RANDOM_LABEL = "RANDOM WEIGHTS"
#: Taken by `auto` where no pack is installed: the least work.
_SMALLEST = f"{RANDOM_PREFIX}buffalo_s"


@dataclass(frozen=True)
class Weights:
    """A pack, and whether its weights are random."""

    pack: ModelPack
    random: bool

    @property
    def label(self) -> str:
        """The pack's name, and the truth about it."""
        if not self.random:
            return self.pack.name
        return f"{self.pack.name} ({RANDOM_LABEL}: real layer sizes, finds no real faces)"


def weight_names(extra_roots: Sequence[Path] = ()) -> list[str]:
    """What can be chosen: `auto`, packs that are installed or come with a backend, stand-ins."""
    # Here, since the node is loaded with the pack, and graphs are made by few.
    from .synthetic_models.packs import SYNTHETIC_PACKS

    random = (f"{RANDOM_PREFIX}{name}" for name in SYNTHETIC_PACKS)
    return list(dict.fromkeys([AUTO, *find_packs(extra_roots), *backend_packs(), *random]))


def choose_weights(
    name: str,
    extra_roots: Sequence[Path] = (),
    synthetic_folder: Path | None = None,
    allow_path: bool = True,
) -> Weights:
    """The weights of a name.

    Args:
        name: `auto`, the best pack that is installed and, if none is, the smallest stand-in; the
            name or folder of a pack, one that comes with a backend included; or `random:` and the
            name of a pack that has a stand-in.
        extra_roots: Further folders to look for packs in.
        synthetic_folder: Where stand-ins are kept; by default in the pack's cache.
        allow_path: Whether `name` may be a folder. Not for names from a workflow.

    Raises:
        ModelError: It is not there, or damaged.
        InvalidInput: There is no stand-in for that pack, or `name` is a path, and may not be one.
    """
    if name == AUTO:
        name = _best_installed(extra_roots) or _SMALLEST
    if name.startswith(RANDOM_PREFIX):
        from .synthetic_models.packs import make_synthetic_pack

        folder = synthetic_folder or host.cache_folder() / "stand_ins"
        made = make_synthetic_pack(name.removeprefix(RANDOM_PREFIX), folder)
        return Weights(read_pack(made.name, made), random=True)
    own = obtain_backend_pack(name)
    if own is not None:
        return Weights(own, random=False)
    # An installed pack first: the folder that ComfyUI runs in has one called `models`, for one.
    pack = load_pack(name, extra_roots, allow_path=allow_path)
    return Weights(pack, (pack.folder / RANDOM_WEIGHTS_MARKER).is_file())


def _best_installed(extra_roots: Sequence[Path]) -> str | None:
    """The first installed pack that detects and recognises, known ones first."""
    installed = find_packs(extra_roots)
    preferred = [name for name in KNOWN_PACKS if name in installed]
    for name in dict.fromkeys((*preferred, *installed)):
        try:
            tasks = load_pack(name, extra_roots).tasks
        except ModelError:
            continue
        if "detection" in tasks and "recognition" in tasks:
            return name
    return None
