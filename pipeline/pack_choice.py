"""Which packs and detectors users can choose, and which pack `auto` takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from ..backends.registry import all_backends, get_backend, refused_by_settings
from ..utils.errors import InvalidInput, ModelError
from ..utils.packs import ModelPack, Task
from ..utils.packs.checksums import content_bytes, model_states
from ..utils.packs.detector_files import (
    PACKS_OWN,
    DetectorFolders,
    find_detectors,
    with_detector,
)
from ..utils.packs.find import (
    find_packs,
    load_pack,
    misplaced_weights,
    model_file_states,
    pack_roots,
)
from ..utils.packs.known import KNOWN_PACKS
from ..utils.settings import settings
from ..utils.settings.variables import variable
from .choices import AUTO

_log = logging.getLogger("FastFace")


def pack_names(extra_roots: Sequence[Path] = ()) -> list[str]:
    """What `model_pack` can be: `auto`, installed packs, packs of backends, downloadable packs."""
    return list(dict.fromkeys([*installed_pack_names(extra_roots), *KNOWN_PACKS]))


def installed_pack_names(extra_roots: Sequence[Path] = ()) -> list[str]:
    """What `model_pack` can be without a download."""
    return list(dict.fromkeys([AUTO, *find_packs(extra_roots), *backend_packs()]))


def pack_file_states(name: str, extra_roots: Sequence[Path] = ()) -> list[str]:
    """Names, sizes and times of the files of a pack, a line each; for `auto` of all packs.

    Whoever loaded the pack before has another one now if these differ. No file is opened but to
    see, once, which others it names.
    """
    states = {
        pack: model_file_states(folder)
        for pack, folder in find_packs(extra_roots).items()
        if name in (AUTO, pack)
    }
    for pack in backend_packs().values():
        if name in (AUTO, pack.name):
            states[pack.name] = [state for model in pack.models for state in model.files]
    return [
        f"{pack}/{state.path.name} {state.size} {state.mtime_ns}"
        for pack, files in sorted(states.items())
        for state in files
    ]


def detector_names(
    extra_roots: Sequence[Path] = (), folders: DetectorFolders | None = None
) -> list[str]:
    """What `detector` can be: the pack's own, or any that is found; see `find_detectors`."""
    return [PACKS_OWN, *find_detectors(extra_roots, folders)]


def detector_file_states(
    name: str, extra_roots: Sequence[Path] = (), folders: DetectorFolders | None = None
) -> list[str]:
    """Name, size and time of a detector's files, a line each; empty where it is not there."""
    path = find_detectors(extra_roots, folders).get(name)
    states = () if path is None else model_states(path)
    return [f"{name} {state.path.name} {state.size} {state.mtime_ns}" for state in states]


def with_chosen_detector(
    pack: ModelPack,
    name: str,
    extra_roots: Sequence[Path],
    folders: DetectorFolders | None,
    second_look: bool,
) -> ModelPack:
    """A pack with the detector of a name; see `with_detector`.

    Raises:
        InvalidInput: There is none of that name, or the pack takes no other.
        ModelError: Its file is damaged.
    """
    if name == PACKS_OWN:
        return pack
    found = find_detectors(extra_roots, folders)
    if name not in found:
        raise InvalidInput(
            f"got detector {name!r}, expected one of {', '.join((PACKS_OWN, *found))}; put its "
            "file into ComfyUI/models/fastface/detectors or models/ultralytics/bbox"
        )
    return with_detector(pack, name, found[name], second_look=second_look)


def backend_packs() -> dict[str, ModelPack]:
    """Packs that come with backends, by name."""
    return {pack.name: pack for backend in all_backends().values() for pack in backend.packs()}


def choose_pack(
    name: str,
    backend: str,
    extra_roots: Sequence[Path],
    download_missing: bool,
    on_download: Callable[[int, int], None] | None,
) -> ModelPack:
    """The pack of a name; `auto` takes the best that is there and can be run.

    Raises:
        ModelError: It is not there, or damaged.
    """
    pack = obtain_backend_pack(name, download_missing, on_download)
    if pack is not None:
        return pack
    if name == AUTO:
        return _best_pack(backend, extra_roots)
    if name not in find_packs(extra_roots) and name in KNOWN_PACKS and download_missing:
        from ..utils.download.fetch import download_pack

        download_pack(KNOWN_PACKS[name], pack_roots(extra_roots)[0], on_download)
    return load_pack(name, extra_roots)


def obtain_backend_pack(
    name: str,
    download_missing: bool = False,
    on_download: Callable[[int, int], None] | None = None,
) -> ModelPack | None:
    """A pack that comes with a backend, or None where no backend has one of that name.

    Raises:
        ModelError: A file of it is missing; the message has its address and its folder.
    """
    for owner in all_backends().values():
        for pack in owner.packs():
            if pack.name == name:
                return owner.obtain(pack, download_missing, on_download)
    return None


def _best_pack(backend: str, extra_roots: Sequence[Path]) -> ModelPack:
    """The first pack that can be used: known ones, other installed ones, those of backends."""
    if backend != AUTO:
        packs = get_backend(backend).packs()
        if packs:
            return packs[0]
    if settings().pack:
        return _wanted_pack(settings().pack, extra_roots)
    spare = None
    own = backend_packs()
    installed: Iterable[ModelPack] = _detecting_packs(extra_roots)
    if settings().small_packs:
        installed = sorted(installed, key=_by_size)
    for pack in chain(installed, own.values()):
        if backend != AUTO or _can_run(pack):
            if pack.name in own:
                for sentence in misplaced_weights(extra_roots):
                    _log.warning(
                        "model_pack auto takes %r, as it finds none: %s", pack.name, sentence
                    )
            return pack
        spare = spare or pack
    if spare is not None:
        return spare  # so that the error says what each backend lacks
    misplaced = "".join(f"; {sentence}" for sentence in misplaced_weights(extra_roots))
    raise ModelError(
        "no model pack that detects faces is installed: choose one by name with download_missing "
        f"on, put one into {pack_roots(extra_roots)[0]}, or install facenet-pytorch "
        f"(python install.py){misplaced}"
    )


def _wanted_pack(name: str, extra_roots: Sequence[Path]) -> ModelPack:
    try:
        return obtain_backend_pack(name) or load_pack(name, extra_roots)
    except ModelError as error:
        raise ModelError(f"{variable('pack')} is {name!r}, but {error}") from error


def _by_size(pack: ModelPack) -> tuple[bool, int]:
    """Puts the smallest pack first, behind all those that recognise faces the others."""
    wanted: tuple[Task, ...] = ("detection", "recognition")
    tasks: list[Task] = [task for task in wanted if task in pack.tasks]
    return len(tasks) < 2, sum(content_bytes(pack.model(task)) for task in tasks)


def _detecting_packs(extra_roots: Sequence[Path]) -> Iterator[ModelPack]:
    """Installed packs with a detector, read one after the other; a damaged one is passed over."""
    installed = find_packs(extra_roots)
    # What InstantID, IPAdapter and PuLID were trained with comes first, what they can't use last.
    for name in sorted(installed, key=_preference):
        try:
            pack = load_pack(name, extra_roots)
        except ModelError as error:
            _log.warning("model_pack auto passes over %r: %s", name, error)
            continue
        if "detection" in pack.tasks:
            yield pack


def _preference(name: str) -> int:
    known = list(KNOWN_PACKS)
    of_insightface = [each for each in known if KNOWN_PACKS[each].is_insightfaces]
    if name in of_insightface:
        return known.index(name)
    return len(known) + (name in KNOWN_PACKS)


def _can_run(pack: ModelPack) -> bool:
    return any(
        not (
            refused_by_settings(backend)
            or backend.why_unavailable()
            or backend.why_unsupported(pack)
        )
        for backend in all_backends().values()
    )
