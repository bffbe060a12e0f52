"""Backend, device and precision of a pack, where cheaper precisions are proven first."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ..backends.base import Backend
from ..backends.facenet_networks.parameters import MtcnnParameters
from ..backends.onnx_graphs.cache_entries import Entry
from ..backends.onnx_graphs.equivalence import prover
from ..backends.onnx_graphs.graph_cache import NewFile, graph_cache
from ..backends.placement import Placement
from ..models.opening import open_model
from ..utils import host
from ..utils.cores import cpu_features, usable_cores
from ..utils.errors import FastFaceError
from ..utils.packs import ModelPack, Task
from ..utils.packs.checksums import content_of
from ..utils.progress import heard_by
from .calibration import calibration_pictures
from .choices import AUTO, FAST, choose_backend, choose_placement, why_not_cheaper
from .precision_choice import LEAST_SPEED, needs_proof, proven_placement
from .precision_proof import QUANTISED, PrecisionProver, paired_ms

_log = logging.getLogger("FastFace")


def choose_running(
    pack: ModelPack,
    backend: str,
    device: str,
    precision: str,
    strict: bool,
    tasks: Sequence[Task],
    mtcnn: MtcnnParameters | None = None,
) -> tuple[Backend, Placement, str]:
    """What runs a pack, where and in which precisions, and why.

    For `fast`, `auto` takes the first backend in which something cheaper than fp32 is proven, and
    which is faster so than the one that it takes for fp32.

    Args:
        pack: The pack.
        backend, device, precision: As the user chose them, or `auto`.
        strict: Whether running anywhere else than asked is an error.
        tasks: Those that are wanted.
        mtcnn: Parameters of MTCNN, for packs of facenet-pytorch only.

    Raises:
        InvalidInput: A backend has no such device, precision or parameters.
        BackendUnavailable: None can run the pack so.
    """
    passed_over: dict[str, str] = {}
    # It ends: at last the order comes back to one that was passed over, which is taken in fp32.
    while True:
        chosen, why = choose_backend(backend, pack, device, precision, passed_over)
        if mtcnn is not None:
            chosen = chosen.with_parameters(mtcnn)
        placement = choose_placement(chosen, pack, device, precision, strict)
        if not needs_proof(chosen, placement.device, placement.precision):
            if precision == FAST:
                why = f"{why}; fast: {why_not_cheaper(chosen, placement.device)}"
            return chosen, placement, why
        placement = proven_placement(pack, chosen, placement, tasks)
        if backend != AUTO or placement.precision != FAST or chosen.name in passed_over:
            return chosen, placement, why
        speed, text = _compared(pack, chosen, placement, tasks)
        if speed >= LEAST_SPEED:
            return chosen, placement, "; ".join(filter(None, [why, text]))
        passed_over[chosen.name] = text


def _compared(
    pack: ModelPack, backend: Backend, placement: Placement, tasks: Sequence[Task]
) -> tuple[float, str]:
    """How many times as fast as what `auto` takes for fp32 a backend is in what is proven.

    Returns:
        The number, and what there is to say of it.
    """
    if not placement.proven:
        return 0.0, "nothing cheaper than fp32 is proven"
    usual, _ = choose_backend(AUTO, pack, placement.device, "fp32")
    if usual.name == backend.name:
        return math.inf, ""
    try:
        with heard_by(lambda done: host.check_interrupted()):
            speed = speed_over(usual, pack, backend, placement, tasks)
    except (FastFaceError, OSError) as error:
        text = f"it can't be timed against {usual.name}: {error}"
        _log.warning("%s: %s", backend.name, text)
        return math.inf, text
    return speed, f"it is {speed:.2f} times as fast as {usual.name} in fp32"


def speed_over(
    usual: Backend,
    pack: ModelPack,
    backend: Backend,
    placement: Placement,
    tasks: Sequence[Task],
) -> float:
    """How many times as fast as one backend in fp32 another one is: timed once, then remembered.

    Args:
        usual: The one in fp32, on the same device.
        pack: The pack.
        backend, placement: The other one.
        tasks: Of which those are timed that are most of the work.

    Raises:
        FastFaceError: A model can't be opened or run.
        OSError: What was found out can't be kept.
    """
    timed: list[Task] = [task for task in tasks if task in QUANTISED]
    model = pack.model("detection")
    pictures = calibration_pictures()

    def remembered(facts: Mapping[str, Any] | None) -> float:
        def make(new_file: NewFile) -> Mapping[str, Any]:
            if facts is None:
                raise _Unknown
            return facts

        def read(entry: Entry) -> float:
            return float(entry.facts["speed"])

        return graph_cache().obtain(
            "backend_speed",
            model.path,
            model.path.name,
            make,
            read,
            files=[content_of(pack.model(task)) for task in timed],
            proven=[list(each) for each in placement.proven or ()],
            backends=[
                [each.name, placement.device, each.engine_version()] for each in (backend, usual)
            ],
            pictures=pictures.digest,
            processor=[*sorted(cpu_features()), usable_cores()],
            proved_by=prover(),
        )

    try:
        return remembered(None)
    except _Unknown:
        pass
    _log.info("%s: timing %s against %s", pack.name, backend.name, usual.name)
    exact = PrecisionProver(pack, usual, placement.device, pictures)
    sums = [0.0, 0.0]
    for task in timed:
        models = exact.exact_model(task), open_model(backend, pack, task, placement)
        uses = [partial(exact.use, task, each) for each in models]
        sums = [total + ms for total, ms in zip(sums, paired_ms(*uses), strict=True)]
    return remembered({"speed": sums[0] / sums[1]})


class _Unknown(Exception):
    """Nothing was found out before."""
