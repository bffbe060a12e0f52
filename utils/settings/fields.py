"""`Settings`: every environment variable of the pack, its type, its default and its meaning."""

from __future__ import annotations

import os
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from ..packs import TASK_ORDER
from ..text import readable
from .variables import variable

Profile = Literal["standard", "low-memory", "cpu"]

#: What a profile sets where no variable does.
PROFILES: dict[Profile, dict[str, Any]] = {
    "standard": {},
    "low-memory": {
        "keep_loaded": "batch",
        "offload_timeout": 30,
        "batch_size": 1,
        "cache_mem_limit": 8 << 20,
        "small_packs": True,
        "fast": True,
        "heads": ("detection", "recognition"),
        "det_size": 320,
        "max_faces": 4,
    },
    "cpu": {"prefer_gpu": False},
}


def _parts(divider: str) -> BeforeValidator:
    def divide(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(divider) if part.strip())

    return BeforeValidator(divide)


def _all_tasks(names: tuple[str, ...]) -> tuple[str, ...]:
    if not set(names) <= set(TASK_ORDER):
        raise ValueError(f"names of tasks: {', '.join(TASK_ORDER)}")
    return names


def _folder(name: str) -> str:
    try:
        is_there = not name or Path(name).is_dir()
    except (OSError, ValueError):  # too long for a name, or with a zero in it
        is_there = False
    if not is_there:
        raise ValueError("a folder that is there")
    return name


#: Powers of 1000 and of 1024, as disks and memory are counted.
_UNITS = {"": 1, "b": 1}
_UNITS |= {letter + end: 1000**n for n, letter in enumerate("kmgt", 1) for end in ("", "b")}
_UNITS |= {f"{letter}ib": 1024**n for n, letter in enumerate("kmgt", 1)}
_SIZE = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?) ?([A-Za-z]*)")
#: What libraries in C can be given.
_MOST_BYTES = 2**63 - 1
_MOST_NUMBER = 2**31 - 1


def _bytes(value: Any) -> Any:
    """A size as people write it, the whole of it: `1.5GB`, never the 1 of `1,5GB`."""
    if not isinstance(value, str):
        return value
    from fractions import Fraction  # here: a start of ComfyUI without sizes need not pay for it

    written = _SIZE.fullmatch(value.strip())
    unit = _UNITS.get(written[2].lower()) if written else None
    size = Fraction(written[1]) * unit if written and unit else None
    if size is None or size.denominator != 1 or size > _MOST_BYTES:
        raise ValueError("a size such as 512MB or 2GB, with a point for fractions")
    return int(size)


def _plain(value: Any) -> Any:
    if isinstance(value, str) and "_" in value:  # Python's own way to write numbers
        raise ValueError("a plain number")
    return value


# Names come from the system: those that are no UTF-8 are no text to pydantic.
Names = Annotated[tuple[Any, ...], _parts(",")]
Tasks = Annotated[Names, AfterValidator(_all_tasks)]
Folders = Annotated[tuple[Any, ...], _parts(os.pathsep)]
Folder = Annotated[str, AfterValidator(_folder)]
Bytes = Annotated[int, BeforeValidator(_bytes)]
Whole = Annotated[int, BeforeValidator(_plain)]
Count = Annotated[Whole, Field(ge=0, le=_MOST_NUMBER)]
Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_plain)]


class Settings(BaseModel):
    """What the environment says; each field is the variable `FASTFACE_` and its name in capitals.

    A field's description is its row in docs/SETTINGS.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: Profile = Field(
        default="standard",
        description="Sets the other variables as the columns on the right say, except those that "
        "are set themselves: `standard`, `low-memory` or `cpu`.",
    )
    models: Folders = Field(
        default=(), description="Folders of packs, or packs, divided as in PATH; searched first."
    )
    pack: str = Field(
        default="", description="The pack that the loader's `auto` takes; empty takes the best."
    )
    small_packs: bool = Field(
        default=False,
        description="1 lets `auto` take the smallest installed pack that recognises faces instead "
        "of the best.",
    )
    backends: Names = Field(
        default=(),
        description="The only backends that may run, by comma, such as `onnxruntime`; empty "
        "allows all.",
    )
    heads: Tasks = Field(
        default=(),
        description="The only tasks that packs offer, by comma, such as "
        "`detection,recognition`; empty offers all, and detection is always there.",
    )
    det_size: Whole = Field(
        default=640,
        ge=32,
        le=4096,
        multiple_of=32,
        description="Side in pixels of the detector's input that the loader begins with; a "
        "multiple of 32.",
    )
    max_faces: Count = Field(
        default=0,
        description="Most faces kept of an image where the loader's `max_faces` is 0; 0 keeps all.",
    )
    prefer_gpu: bool = Field(
        default=True, description="Whether device `auto` takes a GPU; 0 keeps to the CPU."
    )
    preload: Names = Field(
        default=(),
        description="Packs whose models are opened when ComfyUI starts, by comma; `auto` is the "
        "one that the loader would take.",
    )
    keep_loaded: Literal["idle", "batch"] = Field(
        default="idle",
        description="How long models stay: `idle` until nothing used them for the time below, "
        "`batch` until the last image of the batch that needed them.",
    )
    offload_timeout: Number = Field(
        default=300,
        ge=0,
        description="Seconds without a call after which a model is released; 0 never.",
    )
    gpu_mem_limit: Bytes = Field(
        default=0,
        description="Most GPU memory, such as `2GB`: the arena of ONNX Runtime and the workspace "
        "of TensorRT for each network, and what the images of one run may take in torch; 0 is no "
        "limit.",
    )
    batch_size: Count = Field(
        default=0,
        description="Most images in one run of a network; 0 takes what fits the memory.",
    )
    threads: Whole = Field(
        default=0,
        ge=0,
        le=1024,
        description="Threads of an ONNX Runtime session; 0 takes the physical cores that the "
        "process may use.",
    )
    fast: bool = Field(
        default=False,
        description="1 lets the loader's precision `auto` be `fast` on a CPU: fewer bits for the "
        "networks whose answers are proven in them.",
    )
    calibration: Folder = Field(
        default="",
        description="Folder of pictures with faces on which precisions `int8`, `bf16` and `fast` "
        "are calibrated and proved on a CPU, half of them each; empty takes the photos that come "
        "with this pack and with insightface.",
    )
    cache_results: Count = Field(
        default=500,
        description="Most images whose faces are remembered, so that the same image is not "
        "analysed again; 0 remembers none.",
    )
    cache_results_seconds: Number = Field(
        default=1800, gt=0, description="Longest time that they are."
    )
    cache_crops: Count = Field(
        default=200,
        description="Most images of which pixels are kept, for fields of faces that nobody has "
        "read yet; 0 keeps them with the faces alone.",
    )
    cache_crops_seconds: Number = Field(
        default=900, gt=0, description="Longest time that they are."
    )
    cache_galleries: Count = Field(
        default=50,
        description="Most galleries of faces that are kept ready to be searched; 0 reads them from "
        "disk for each search.",
    )
    cache_galleries_seconds: Number = Field(
        default=7200, gt=0, description="Longest time that they are."
    )
    cache_mem_limit: Bytes = Field(
        default=64 << 20,
        description="Most RAM, in bytes or such as `64MB`, that each of the caches of results and "
        "pixels may take.",
    )
    graph_cache_limit: Bytes = Field(
        default=4 * 10**9,
        description="Most disk space, such as `4GB`, for what is made of the packs' graphs; those "
        "that were used longest ago are deleted first, those in use stay; 0 is no limit.",
    )
    film_cache_limit: Bytes = Field(
        default=2 * 10**9,
        description="Most disk space, such as `2GB`, for what FastFace Video keeps of films, so "
        "that it goes on where it was ended; films that were used longest ago are deleted first; 0 "
        "is no limit.",
    )
    replace_insightface: bool = Field(
        default=False,
        description="1 gives this pack's object to all who build insightface's `FaceAnalysis`.",
    )
    torch_compile: bool = Field(
        default=False,
        description="1 lets the `torch` backend compile for shapes that keep coming.",
    )
    tensorrt_cuda_graphs: bool = Field(
        default=False,
        description="1 lets the `tensorrt` backend run shapes that keep coming as CUDA graphs.",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_profile(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {**PROFILES.get(values.get("profile", "standard"), {}), **values}


#: Every variable, in the order of the fields.
VARIABLES = tuple(variable(field) for field in Settings.model_fields)


@dataclass(frozen=True)
class Reading:
    """What the variables say.

    Attributes:
        settings: Wrong variables left out, as if they were not set.
        wrong: For each wrong variable, what it is and what it may be.
    """

    settings: Settings
    wrong: Mapping[str, str]


def read(environment: Mapping[str, str | None]) -> Reading:
    """The settings as an environment has them; variables that are empty count as not set."""
    given: dict[str, str] = {}
    for name, field in Settings.model_fields.items():
        text = (environment.get(variable(name)) or "").strip()
        if text:
            given[name] = text if isinstance(field.default, tuple) else readable(text)
    try:
        return Reading(Settings.model_validate(given), {})
    except ValidationError as error:
        wrong = {str(entry["loc"][0]): _explained(entry, given) for entry in error.errors()}
    right = {name: text for name, text in given.items() if name not in wrong}
    reasons = {variable(name): words for name, words in wrong.items()}
    return Reading(Settings.model_validate(right), reasons)


#: What is expected, by pydantic's name of the error; of others its own words are as good.
_EXPECTED = {
    "bool_parsing": "0 or 1",
    "float_parsing": "a number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number, and not such a long one",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "value_error": "{error}",
}


_short = reprlib.Repr()
_short.maxstring = 100


def _explained(entry: Any, given: Mapping[str, str]) -> str:
    name = str(entry["loc"][0])
    words = _EXPECTED.get(entry["type"])
    if words is None:
        words = entry["msg"].removeprefix("Input should be ")
    expected = words.format(**entry.get("ctx", {}))
    return f"{variable(name)} is {_short.repr(given[name])}, expected {expected}"
