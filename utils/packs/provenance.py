"""Where a pack's weights come from and what they may be used for, by their content."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from . import ModelFile, ModelPack
from .checksums import content_bytes, content_of
from .known import KNOWN_PACKS
from .released import RELEASED_FILES, RELEASED_SIZES, ReleasedFile


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
    known = KNOWN_PACKS.get(pack.name)
    if known is None or model.path.name not in known.files or pack.origin != ModelPack.origin:
        return Provenance(pack.origin, pack.licence)
    if known.files[model.path.name]:
        return Provenance(
            f"named like InsightFace's {known.name}, but not what was released under that name",
            pack.licence,
        )
    return Provenance(
        f"named like InsightFace's {known.name}; contents not verified",
        f"{pack.licence}; if it is the released file: {known.licence}",
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
