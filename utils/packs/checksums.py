"""What model files hold: told apart by content, wherever they lie and whatever they are called.

The content of a model is everything that decides its answers: the graph, its weights, and the files
beside it in which the graph keeps some of them. It is read once, and remembered until the state of
a file differs: its size, its times, or which file it is.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cachetools import LRUCache

from ..download.disk import file_sha256
from ..errors import ModelError, ModelReplaced
from .external_data import ExternalData, external_files
from .file_state import ByState, FileState, state_of
from .graph_header import read_own_header

if TYPE_CHECKING:
    from . import ModelFile

_digests: ByState[str] = ByState(1024)
#: What models held, by the states of their files when their packs were read.
_contents: LRUCache[tuple[FileState, ...], str] = LRUCache(1024)
_lock = threading.Lock()

#: A file that is still being written is hashed again so often.
_MOST_TRIES = 5


def content_sha256(path: Path) -> str:
    """What stands for the content of a model file: 64 lower-case hexadecimal digits.

    External data is covered: of a graph with weights in files beside it, it is the SHA-256 of the
    hashes of all of them; of any other file it is its SHA-256, as published by whoever released it.

    Raises:
        ModelError: A file can't be read, is not there, or lies outside the graph's folder.
    """
    return _content([state.path for state in model_states(path)])


def model_states(path: Path, *further: Path) -> tuple[FileState, ...]:
    """The files a model consists of, as they are now: its own, then those with external data.

    Args:
        path: The model's file.
        further: Others that belong to it, of formats that don't name them.

    Raises:
        ModelError: As `content_sha256`.
    """
    own = state_of(path)
    if path.suffix.lower() == ".onnx":
        external: tuple[ExternalData, ...] = ()
        with suppress(ModelError):  # damaged, and for others to refuse; its own bytes tell it apart
            external = read_own_header(path).external_data
        further += external_files(path, external)
    return (own, *map(state_of, further))


def content_of(model: ModelFile) -> str:
    """The content of a model, which is the one that its pack was read from.

    Raises:
        ModelReplaced: The file has another content now.
        ModelError: It can't be read.
    """
    content = _content(_paths(model))
    # Afterwards: a file that was replaced while it was hashed has another state then.
    is_as_read = _states_of(model) == model.files
    with _lock:
        if is_as_read:
            _contents.setdefault(model.files, content)
        if model.files and _contents.get(model.files) != content:
            raise ModelReplaced(
                f"{model.path} was replaced since its pack was read; load the pack again"
            )
    return content


def note_content(model: ModelFile, content: str) -> None:
    """Notes the content of a model as its pack was read, for when its files are looked at again.

    `content_of` notes it by itself; of models that were not asked for long it is forgotten.
    """
    with _lock:
        _contents[model.files] = content


def is_replaced(model: ModelFile) -> bool:
    """Whether a model's files have another content than when its pack was read.

    Files that are not there are not replaced: what was loaded of them goes on.

    Raises:
        ModelError: They can't be read.
    """
    if not model.files or not _are_there(model) or _states_of(model) == model.files:
        return False
    try:
        content_of(model)
    except ModelReplaced:
        return True
    return False


def content_bytes(model: ModelFile) -> int:
    """Size of a model's files in bytes, external data included.

    Raises:
        ModelError: They can't be read.
    """
    return sum(state_of(path).size for path in _paths(model))


@contextmanager
def unreplaced(models: Sequence[ModelFile]) -> Iterator[list[str]]:
    """Guards the opening of models: none is opened whose content is not that of its pack.

    Yields:
        The content of each, see `content_of`.

    Raises:
        ModelReplaced: A file has another content than when the pack was read, or got another one
            while it was being opened.
        ModelError: It is not there, can't be read, or differs from what its pack declares.
    """
    contents = [content_of(model) for model in models]
    for model in models:
        verify_sha256(model)
    yield contents
    for model, content in zip(models, contents, strict=True):
        # Whoever opened it may have read either; a file that is gone by now was read before.
        if _are_there(model) and content_of(model) != content:
            raise ModelReplaced(f"{model.path} was replaced while it was being opened; try again")


def verify_sha256(model: ModelFile) -> None:
    """Compares a model file with the hash its pack declares, if it declares one.

    Raises:
        ModelError: It differs, or can't be read.
    """
    if model.sha256 is None:
        return
    got = _sha256(model.path)
    if got != model.sha256:
        raise ModelError(
            f"{model.path} has the sha256 {got}, its pack declares {model.sha256}: the file is "
            "damaged or was replaced; download the pack again"
        )


def _are_there(model: ModelFile) -> bool:
    return model.path.exists() and all(path.exists() for path in _paths(model))


def _states_of(model: ModelFile) -> tuple[FileState, ...]:
    return tuple(map(state_of, _paths(model)))


def _paths(model: ModelFile) -> list[Path]:
    states = model.files or model_states(model.path)
    return [state.path for state in states]


def _content(paths: Sequence[Path]) -> str:
    """Of one file its SHA-256, of several one over theirs and where they lie."""
    own, *further = paths
    if not further:
        return _sha256(own)
    digest = hashlib.sha256(_sha256(own).encode())
    for path in further:
        name = path.relative_to(own.parent).as_posix()
        digest.update(f"\n{_sha256(path)} {name}".encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    for _ in range(_MOST_TRIES):
        state = state_of(path)
        try:
            digest = _digests.get_or_read(state, file_sha256)
        except OSError as error:
            raise ModelError(
                f"{path} can't be read: {error}; check the rights to the file, or download the "
                "pack again"
            ) from error
        if state_of(path) == state:
            return digest
    raise ModelError(f"{path} is being written to; wait until it is complete, then try again")
