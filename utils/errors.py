"""The errors this pack raises: each says what was got, what was expected and what to do."""

from __future__ import annotations

from .text import readable


class FastFaceError(Exception):
    """Base of every error the pack raises on purpose; its message is readable text, always."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(readable(arg) if isinstance(arg, str) else arg for arg in args))


class InvalidInput(FastFaceError, ValueError):
    """A value, tensor or file given by the user can't be used."""


class FieldUnavailable(InvalidInput, KeyError, AttributeError):
    """A field of a face that is not there, and why: the error of a missing key or attribute."""

    # KeyError would show the message in quotes.
    __str__ = Exception.__str__


class BackendUnavailable(FastFaceError, RuntimeError):
    """A backend, device or execution provider can't run here, or not as strictly as asked."""


class OutOfMemory(BackendUnavailable):
    """A device has too little memory for what was asked of it at once."""


class ModelError(FastFaceError, RuntimeError):
    """A model file is missing, damaged, or not what its pack says it is."""


class ModelReplaced(ModelError):
    """A model file has another content than when its pack was read, which is to be read again."""


class FileError(FastFaceError, OSError):
    """A file can't be written; what was there before is still there."""


class ProcessEnding(FastFaceError, RuntimeError):
    """The process is ending, so that nothing is begun any more."""


class DownloadError(FastFaceError, OSError):
    """A model download did not complete; nothing half-written was left in its place."""
