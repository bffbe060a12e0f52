"""Recognises the files that people mistake for ONNX files, and says what to do about each."""

from __future__ import annotations

import codecs

HEAD_BYTES = 64

_FETCH = "download the file itself (on web pages: the link called download or raw)"
_UNPACK = "unpack it and put the .onnx files from it here"
_CONVERT = "get the model in the ONNX format, or convert it"

#: (position, bytes found there, what the file is, what to do).
_SIGNATURES = (
    (
        0,
        b"version https://git-lfs",
        "a git-lfs pointer, the few lines that stand for a file until git-lfs fetches it",
        f"run `git lfs pull` in its folder, or {_FETCH}",
    ),
    (0, b"PK\x03\x04", "a zip archive, or a PyTorch checkpoint, which is one", _UNPACK),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a rar archive", _UNPACK),
    (4, b"\0\0\0\0{", "a safetensors file: weights without a graph", _CONVERT),
    (0, b"\x80\x02", "a pickle, such as an old PyTorch checkpoint", _CONVERT),
    (0, b"\x89HDF", "an HDF5 file, such as a Keras model", _CONVERT),
    (0, b"GGUF", "a GGUF file", _CONVERT),
    (4, b"ORTM", "a model in ONNX Runtime's own format", _CONVERT),
    (4, b"TFL3", "a TensorFlow Lite model", _CONVERT),
)
_WEB_PAGE = ("a web page, such as an error or log-in page saved in place of the file", _FETCH)
_TEXT = ("a text file", _FETCH)


def recognise(head: bytes) -> tuple[str, str] | None:
    """What a file that is no ONNX file looks like.

    Args:
        head: Its first `HEAD_BYTES` bytes, or all it has.

    Returns:
        What it looks like and what to do, or None if it looks like nothing known.
    """
    if not head.strip(b"\0"):
        return "nothing but zeros, as an interrupted copy or download leaves it", _FETCH
    for position, signature, what, remedy in _SIGNATURES:
        if head[position : position + len(signature)] == signature:
            return what, remedy
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        return _WEB_PAGE
    return _TEXT if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the end may split a letter
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter in "\t\r\n" for letter in text)
