"""`Settings`: every environment variable of the pack, its type, its default and its meaning."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ..errors import InvalidInput
from ..packs import TASK_ORDER
from . import PREFIX

Profile = Literal["standard", "low-memory", "cpu"]

#: What a profile sets where no variable does.
PROFILES: dict[Profile, dict[str, Any]] = {
    "standard": {},
    "low-memory": {
        "keep_loaded": "batch",
        "offload_timeout": 30,
        "batch_size": 1,
        "cache_mem_limit": ByteSize(8 << 20),
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


Names = Annotated[tuple[str, ...], NoDecode, _parts(",")]
Tasks = Annotated[Names, AfterValidator(_all_tasks)]
Folders = Annotated[tuple[str, ...], NoDecode, _parts(os.pathsep)]


class Settings(BaseSettings):
    """What the environment says; each field is the variable `FASTFACE_` and its name in capitals.

    A field's description is its row in docs/SETTINGS.md.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True
    )

    profile: Profile = Field(
        default="standard",
        description="Sets the other variables as the columns on the right say, except those that "
        "are set themselves: `standard`, `low-memory` or `cpu`.",
    )
    models: Folders = Field(
        default=(), description="Folders of packs, or packs, divided as in PATH; searched first."
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
    det_size: int = Field(
        default=640,
        ge=32,
        le=4096,
        multiple_of=32,
        description="Side in pixels of the detector's input that the loader begins with; a "
        "multiple of 32.",
    )
    max_faces: int = Field(
        default=0,
        ge=0,
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
    offload_timeout: float = Field(
        default=300,
        ge=0,
        allow_inf_nan=False,
        description="Seconds without a call after which a model is released; 0 never.",
    )
    gpu_mem_limit: ByteSize = Field(
        default=ByteSize(0),
        description="Most GPU memory, such as `2GB`: the arena of ONNX Runtime and the workspace "
        "of TensorRT for each network, and what the images of one run may take in torch; 0 is no "
        "limit.",
    )
    batch_size: int = Field(
        default=0,
        ge=0,
        description="Most images in one run of a network; 0 takes what fits the memory.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Threads of an ONNX Runtime session; 0 takes the physical cores that the "
        "process may use.",
    )
    cache_results: int = Field(
        default=500,
        ge=0,
        description="Most images whose faces are remembered, so that the same image is not "
        "analysed again; 0 remembers none.",
    )
    cache_results_seconds: float = Field(
        default=1800, gt=0, allow_inf_nan=False, description="Longest time that they are."
    )
    cache_crops: int = Field(
        default=200,
        ge=0,
        description="Most images of which pixels are kept, for fields of faces that nobody has "
        "read yet; 0 keeps them with the faces alone.",
    )
    cache_crops_seconds: float = Field(
        default=900, gt=0, allow_inf_nan=False, description="Longest time that they are."
    )
    cache_mem_limit: ByteSize = Field(
        default=ByteSize(64 << 20),
        description="Most RAM, in bytes or such as `64MB`, that each of the caches of results and "
        "pixels may take.",
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


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


#: Every variable, in the order of the fields.
VARIABLES = tuple(variable(field) for field in Settings.model_fields)


def read() -> Settings:
    """The settings as the environment has them.

    Raises:
        InvalidInput: Variables have values that can't be used; names them all.
    """
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(_explained(entry) for entry in error.errors())
        raise InvalidInput(f"{wrong}; docs/SETTINGS.md says what each may be") from error


#: What is expected, by pydantic's name of the error; of others its own words are as good.
_EXPECTED = {
    "bool_parsing": "0 or 1",
    "byte_size": "a size such as 512MB or 2GB",
    "float_parsing": "a number",
    "int_parsing": "a whole number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "value_error": "{error}",
}


def _explained(entry: Any) -> str:
    name = variable(str(entry["loc"][0]))
    words = _EXPECTED.get(entry["type"])
    if words is None:
        words = entry["msg"].removeprefix("Input should be ")
    expected = words.format(**entry.get("ctx", {}))
    return f"{name} is {os.environ.get(name)!r}, expected {expected}"
