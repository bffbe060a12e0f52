"""`BenchmarkResult`: what a benchmark gives, as JSON or as a dictionary of the same.

`python install.py bench --schema` prints the JSON schema that is made of these models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


RowState = Literal["measured", "missing", "failed"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Quartiles(_Part):
    """Of the same figure in all rounds."""

    median: NotNegative
    q25: NotNegative
    q75: NotNegative


class Seconds(Quartiles):
    """Seconds of one call, the device's work included."""

    p95: NotNegative
    calls: Annotated[int, Field(ge=1)]


class Memory(_Part):
    """What a row's process took."""

    ram_bytes: int | None = Field(description="Peak over what the process had before loading.")
    vram_bytes: int | None = Field(description="Taken from the card.")
    vram_torch_peak_bytes: int | None


class ToHost(_Part):
    """Bytes copied from GPU to host by one call."""

    total: int
    largest: int
    copies: int


class NoParity(_Part):
    """Nothing to compare with, or that with which others are compared."""

    verdict: Literal["none", "reference"]
    reasons: list[str]


class Parity(_Part):
    """Answers against the fp32 results on the CPU; see `utils.parity.compare`."""

    reference: str = Field(description="Whose results these are compared with.")
    faces: int
    found: int
    matched: int
    same_order: bool
    box_px: float | None
    landmark_px: float | None
    cosine: float | None
    norm_error: float | None
    worst_image: int
    verdict: Literal["fit", "unfit"]
    reasons: list[str]


class Row(_Part):
    """One implementation on one device in one precision."""

    contestant: str
    label: str = Field(description="Unique within a case.")
    ours: bool
    device: str = Field(description="What was asked for.")
    precision: str
    variant: Literal["", "network", "again"]
    own_weights: str | None = Field(description="Name of weights that are not the pack's.")
    state: RowState
    reason: str = Field(description="Why it is missing or failed.")
    runs_on: dict[str, str] = Field(description="What each model really ran on, by task.")
    first_call_s: NotNegative | None = Field(
        description="Loading, imports included, and the first run."
    )
    seconds: Seconds | None
    device_seconds: NotNegative | None = Field(description="Median between two CUDA events.")
    images_per_s: NotNegative | None
    faces: Count | None = Field(description="Found in one call.")
    faces_per_s: NotNegative | None
    memory: Memory | None
    stages: dict[str, NotNegative] = Field(
        description="Share of a call's time by stage; empty where nothing is marked."
    )
    to_host: ToHost | None
    parity: NoParity | Parity | None
    against: str | None = Field(description="Label of the row that times_as_fast is a multiple of.")
    times_as_fast: Quartiles | None
    over_network: Quartiles | None = Field(
        description="Multiple of the time of the same backend's bare network."
    )
    share_of_floor: NotNegative | None = Field(
        description="Time of the networks' bare arithmetic at the device's measured rate, over the "
        "median."
    )


class CaseResult(_Part):
    """The same work for everyone."""

    job: str
    title: str
    image_size_hw: Annotated[list[int], Field(min_length=2, max_length=2)]
    batch: Annotated[int, Field(ge=1)]
    threshold: NotNegative = Field(description="0: each weights' own.")
    rows: list[Row]


class MachineFacts(_Part):
    """Where it was measured."""

    cpu: str
    cores: int
    ram_gb: int
    gpus: list[str]
    system: str
    python: str


class WeightsFacts(_Part):
    """What was run."""

    name: str
    random: bool = Field(
        description="Random weights in real layer sizes: speed is real, faces are not."
    )
    label: str


class Rate(_Part):
    """Operations a second that a device was measured to do."""

    device: str
    precision: str
    flops: NotNegative


class Change(_Part):
    """One row against the same row of an earlier run."""

    case: str
    label: str
    change: float
    verdict: Literal["same", "slower", "faster", "too few rounds"]


class Comparison(_Part):
    """All rows against an earlier run."""

    with_run: str = Field(alias="with")
    changes: list[Change]
    regressions: list[str]


class BenchmarkResult(_Part):
    """Result of a FastFace benchmark."""

    schema_version: Literal[1] = Field(alias="schema")
    made: str = Field(description="ISO 8601, UTC.")
    command: str
    machine: MachineFacts
    versions: dict[str, str]
    weights: WeightsFacts
    settings: dict[str, Any]
    noise: list[str] = Field(description="What made the machine noisy; empty when it was quiet.")
    rates: list[Rate]
    import_s: Quartiles | None = Field(description="Import of this pack beyond torch.")
    cases: list[CaseResult]
    comparison: Comparison | None = None
