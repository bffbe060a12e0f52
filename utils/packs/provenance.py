"""Where a pack's weights come from and what they may be used for, by their content."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from . import ModelFile, ModelPack
from .checksums import content_bytes, content_of
from .known import KNOWN_PACKS
from .licences import PACK_LICENCES
from .released import RELEASED_FILES, RELEASED_SIZES, ArcFaceUse, ReleasedFile


@dataclass(frozen=True)
class Provenance:
    """Of a pack, or of some of its models.

    Attributes:
        origin: Where the weights come from, in one line.
        licence: What they may be used for, in one line.
    """

    origin: str
    licence: str


def provenance(pack: ModelPack) -> Provenance:
    """Whose weights a pack holds: of files that were released publicly, by their content.

    A name proves nothing. Files that are called as in a known pack but hold something else, or
    something whose hash nobody published, are said to be so; other files are what the pack says of
    itself. The first call reads the files whose size is that of a released one.

    Raises:
        ModelError: A file can't be read, or was replaced since the pack was read.
    """
    by_task = {model.task: model_provenance(pack, model) for model in pack.models}
    own = pack.detector and pack.detector.landmarks_from
    if own is not None:
        by_task["landmarks"] = model_provenance(own, own.model("detection"))
    return Provenance(
        _joined(by_task, lambda each: each.origin), _joined(by_task, lambda each: each.licence)
    )


def released_file(model: ModelFile) -> ReleasedFile | None:
    """The released file that a model is, or None if it is none that is known."""
    if content_bytes(model) not in RELEASED_SIZES:
        return None
    return RELEASED_FILES.get(content_of(model))


def model_provenance(pack: ModelPack, model: ModelFile) -> Provenance:
    """Whose weights one model of a pack holds; see `provenance`."""
    if released := released_file(model):
        publisher = released.publisher
        return Provenance(f"{publisher.name}, {publisher.url} (contents verified)", publisher.terms)
    if pack.detector is not None and model.task == "detection":
        return Provenance(f"file {model.path.name}, of unknown origin", ModelPack.licence)
    known = KNOWN_PACKS.get(pack.name)
    if known is None or model.path.name not in known.files or pack.origin != ModelPack.origin:
        return Provenance(pack.origin, pack.licence)
    authors = PACK_LICENCES[known.name].authors
    if known.files[model.path.name]:
        return Provenance(
            f"unknown: named like {known.name} of {authors}, but not what was released under that "
            "name",
            pack.licence,
        )
    return Provenance(
        f"unknown: named like {known.name} of {authors}; contents not verified",
        f"{pack.licence}; if it is the released file: {known.licence}",
    )


def arcface_refusal(pack: ModelPack, other_embeddings: bool) -> str | None:
    """Why nodes that need InsightFace's embeddings must not read those of a pack, or None.

    Only of networks that are known by their content: what nobody is known to have released, such as
    a conversion of InsightFace's own, is given as it is.

    Args:
        pack: The weights.
        other_embeddings: Whether the user allows those that are made like InsightFace's.

    Raises:
        ModelError: The recognition file can't be read, or was replaced since the pack was read.
    """
    if "recognition" not in pack.tasks:
        return None
    model = pack.model("recognition")
    others = [each for each in RELEASED_FILES.values() if each.arcface_use is not ArcFaceUse.YES]
    if content_bytes(model) not in {each.size_bytes for each in others}:
        return None  # spares reading the large files of InsightFace's packs
    content = content_of(model)
    released = next((each for each in others if each.sha256 == content), None)
    if released is None or (other_embeddings and released.arcface_use is ArcFaceUse.ASKED):
        return None
    allowed = ""
    if released.arcface_use is ArcFaceUse.ASKED:
        allowed = ", or turn on other_embeddings there for a model that was trained with these"
    return (
        f"these faces were recognised by {released.publisher.name} ({model.path.name}), whose "
        "embeddings are not InsightFace's: only those of space "
        f"{pack.space_of(content)!r} can be compared with them, as FastFace Embed gives them; "
        "InstantID, IPAdapter FaceID and PuLID were trained with InsightFace's: choose a "
        f"model_pack such as antelopev2 or buffalo_l in FastFaceLoader{allowed}"
    )


def _joined(by_task: dict[str, Provenance], field: Callable[[Provenance], str]) -> str:
    """One line for all tasks, with the tasks before each text where there are several."""
    texts = {task: field(each) for task, each in by_task.items()}
    groups = {text: _tasks_of(texts, text) for text in dict.fromkeys(texts.values())}
    if len(groups) == 1:
        return next(iter(groups))
    return "; ".join(f"{', '.join(tasks)}: {text}" for text, tasks in groups.items())


def _tasks_of(texts: dict[str, str], text: str) -> Iterable[str]:
    return [task for task, each in texts.items() if each == text]
