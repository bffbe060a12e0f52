"""Precisions that need proof: `int8`, `bf16` on CPUs, and `fast`, the cheapest one a task."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from ..backends.base import Backend
from ..backends.placement import Placement
from ..utils import host
from ..utils.errors import BackendUnavailable, FastFaceError
from ..utils.isolation import engine_call
from ..utils.packs import ModelPack, Task
from ..utils.precision import Precision
from ..utils.progress import heard_by
from .calibration import calibration_pictures
from .choices import FAST
from .precision_proof import PrecisionProof, PrecisionProver

_log = logging.getLogger("FastFace")

#: Less is not worth other answers.
LEAST_SPEED = 1.1
#: Of precisions whose speeds differ by less, the one with the better answers is taken: timings of a
#: busy machine differ as much from one proof to the next.
_ALIKE = 1.15


def needs_proof(backend: Backend, device: str, precision: Precision) -> bool:
    """Whether a precision is used on a device only for tasks that it is proven for."""
    return precision == FAST or precision in backend.proven_precisions(device)


@engine_call()
def proven_placement(
    pack: ModelPack, backend: Backend, placement: Placement, tasks: Sequence[Task]
) -> Placement:
    """A placement whose precision is used for those tasks alone for which it is proven.

    What is not known yet is found out now, which takes some seconds to minutes a network, once: it
    is remembered for the files, the pictures, the engine's release and the processor.

    Args:
        placement: Its precision is `fast` or one of the backend's `proven_precisions`.
        tasks: Those that are wanted.

    Raises:
        BackendUnavailable: Another precision than `fast` is proven for no task, or, where `strict`
            is asked for, not for all of them.
        InvalidInput: FASTFACE_CALIBRATION is wrong.
    """
    proofs = precision_proofs(pack, backend, placement, tasks)
    chosen: list[tuple[Task, Precision, str]] = []
    refused: list[str] = []
    for task in tasks:
        fit = [proof for proof in proofs if proof.task == task and proof.report.is_fit]
        if placement.precision == FAST:
            fit = [proof for proof in fit if proof.speed >= LEAST_SPEED]
        if fit:
            best = _best(fit)
            chosen.append((task, best.precision, best.recipe))
        else:
            refused += [str(proof) for proof in proofs if proof.task == task]
    if placement.precision != FAST and refused and (placement.strict or not chosen):
        raise BackendUnavailable(
            f"precision {placement.precision} is refused for pack {pack.name!r} on "
            f"{placement.device}: {'; '.join(refused)}; choose fp32 or fast"
        )
    for text in refused:
        # Of fast nobody expects that all are.
        level = logging.INFO if placement.precision == FAST else logging.WARNING
        _log.log(level, "runs in fp32: %s", text)
    return replace(placement, proven=tuple(chosen))


def _best(fit: Sequence[PrecisionProof]) -> PrecisionProof:
    """The fastest of proofs, or one that is nearly as fast and closer to fp32."""
    fastest = max(proof.speed for proof in fit)
    alike = [proof for proof in fit if proof.speed * _ALIKE >= fastest]
    return max(alike, key=lambda proof: proof.report.figures.get("cosine_median", 0.0))


def precision_proofs(
    pack: ModelPack, backend: Backend, placement: Placement, tasks: Sequence[Task]
) -> list[PrecisionProof]:
    """What is known of each task in each precision that may be used; found out where nothing is.

    Raises:
        InvalidInput: FASTFACE_CALIBRATION is wrong.
    """
    prover = PrecisionProver(pack, backend, placement.device, calibration_pictures())
    proofs = []
    for task, precision in product(tasks, _candidates(backend, placement)):
        host.check_interrupted()
        try:
            with heard_by(lambda done: host.check_interrupted()):
                proofs.append(prover.proof(task, precision))
        except (FastFaceError, OSError) as error:
            _log.warning("%s can't be proved in %s: %s", task, precision, error)
            proofs.append(PrecisionProof.failed(task, precision, str(error)))
    return proofs


def known_proofs(
    pack: ModelPack, backend: Backend, placement: Placement, tasks: Sequence[Task]
) -> list[PrecisionProof]:
    """The same, as far as it was found out and kept.

    Raises:
        InvalidInput: FASTFACE_CALIBRATION is wrong.
    """
    prover = PrecisionProver(pack, backend, placement.device, calibration_pictures())
    proofs = [
        prover.known(task, precision)
        for task, precision in product(tasks, _candidates(backend, placement))
    ]
    return [proof for proof in proofs if proof is not None]


def _candidates(backend: Backend, placement: Placement) -> Sequence[Precision]:
    if placement.precision != FAST:
        return (placement.precision,)
    return backend.proven_precisions(placement.device)
