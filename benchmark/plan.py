"""What a run measures: the options, and the cases and rows that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from ..backends.placement import PRECISIONS
from ..pipeline.choices import AUTO, FAST, best_device
from ..utils.devices import Device
from ..utils.errors import InvalidInput
from ..utils.packs import ModelPack
from .benchmark_inputs import SOURCES
from .implementation import Implementation
from .workloads import JOBS, VARIANTS


@dataclass(frozen=True)
class Options:
    """What the user chose.

    Attributes:
        jobs: Of `workloads.JOBS`.
        contestants: Names; empty takes everyone.
        devices: `auto` for each one's best, or such as `cpu`, `cuda:0`.
        precisions: Of `PRECISIONS`, or `fast`; what somebody does not offer is left out.
        batches: Images at a time; jobs that take one image run once, with one.
        image_sizes_hw: Height and width; None is the first photo's own.
        det_size: Side of the detector's input.
        rounds: Turns of every contestant.
        source: One of `inputs.SOURCES`.
        variants: Whether further rows such as the bare network are measured.
        random_faces: Faces that random weights are made to report.
        contestant_files: Further contestants, see `contestants.contestants`.
    """

    jobs: tuple[str, ...] = ("embed",)
    contestants: tuple[str, ...] = ()
    devices: tuple[str, ...] = (AUTO,)
    precisions: tuple[str, ...] = ("fp32",)
    batches: tuple[int, ...] = (1,)
    image_sizes_hw: tuple[tuple[int, int] | None, ...] = (None,)
    det_size: int = 640
    rounds: int = 15
    source: str = "photo"
    variants: bool = False
    random_faces: int = 6
    contestant_files: tuple[Path, ...] = ()

    def check(self, everyone: Mapping[str, Implementation]) -> None:
        """Refuses what can't be measured.

        Raises:
            InvalidInput: A value is none of those above.
        """
        known: Sequence[tuple[str, Sequence[str], Sequence[str]]] = (
            ("job", self.jobs, tuple(JOBS)),
            ("contestant", self.contestants, tuple(everyone)),
            ("precision", self.precisions, (*PRECISIONS, FAST)),
            ("source", (self.source,), tuple(SOURCES)),
        )
        for what, values, allowed in known:
            for value in values:
                if value not in allowed:
                    raise InvalidInput(
                        f"got {what} {value!r}, expected one of {', '.join(allowed)}"
                    )
        sizes = [side for size in self.image_sizes_hw if size for side in size]
        for what, value in (
            ("rounds", self.rounds),
            ("random_faces", self.random_faces),
            *(("batch", batch) for batch in self.batches),
            *(("image side", side) for side in sizes),
        ):
            if value < 1:
                raise InvalidInput(f"got {what} {value}, expected 1 or more")
        if self.det_size < 32 or self.det_size % 32:
            raise InvalidInput(f"got det_size {self.det_size}, expected a multiple of 32")


@dataclass(frozen=True)
class Case:
    """One comparison: the same work for everyone."""

    job: str
    size_hw: tuple[int, int] | None
    batch: int


@dataclass(frozen=True)
class PlannedRun:
    """One row of a case: who, where, how.

    Attributes:
        reason: Why it can't be measured; empty when it can.
        own_weights: Name of its weights where they are not the pack's.
    """

    contestant: str
    is_ours: bool
    device: str
    precision: str
    variant: str = ""
    reason: str = ""
    own_weights: str | None = None

    @property
    def label(self) -> str:
        where = " ".join(part for part in (self.contestant, self.device, self.precision) if part)
        return f"{where}, {VARIANTS[self.variant]}" if self.variant else where


def cases(options: Options) -> Iterator[Case]:
    """Every comparison: jobs, sizes and batches in each combination that makes sense."""
    for job, size_hw in product(options.jobs, options.image_sizes_hw):
        for batch in options.batches if JOBS[job].batches else (1,):
            yield Case(job, size_hw, batch)


def entries(
    case: Case, options: Options, everyone: Mapping[str, Implementation], pack: ModelPack
) -> list[PlannedRun]:
    """The rows of a case; whoever can't take part has a row with the reason."""
    rows: list[PlannedRun] = []
    for name in options.contestants or everyone:
        contestant = everyone[name]
        reason = contestant.why_unavailable() or contestant.why_unsupported(case.job, pack)
        if reason:
            own = contestant.own_weights()
            rows.append(PlannedRun(name, contestant.is_ours, "", "", "", reason, own))
            continue
        for device in _devices_of(contestant, options.devices):
            rows += _rows_on(device, contestant, case, options)
    return rows


def _rows_on(
    device: str, contestant: Implementation, case: Case, options: Options
) -> Iterator[PlannedRun]:
    row = partial(
        PlannedRun,
        contestant.name,
        contestant.is_ours,
        device,
        own_weights=contestant.own_weights(),
    )
    offered = contestant.devices()
    if Device.parse(device).word not in offered:
        reason = f"has no device {device} here, only {', '.join(offered)}"
        yield row("", reason=reason)
        return
    possible = contestant.precisions(device)
    precisions = [precision for precision in options.precisions if precision in possible]
    if not precisions:
        wanted = ", ".join(options.precisions)
        reason = f"offers {', '.join(possible)}, not {wanted}"
        yield row(wanted, reason=reason)
    for precision in precisions:
        yield row(precision)
        for variant in contestant.variants(case.job) if options.variants else ():
            yield row(precision, variant)


def _devices_of(contestant: Implementation, wanted: Sequence[str]) -> list[str]:
    best = best_device(contestant.devices())
    return list(dict.fromkeys(best if device == AUTO else device for device in wanted))
