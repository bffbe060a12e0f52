"""`python install.py engine`: builds TensorRT engines of a model pack, or lists what is built."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from ...backends.tensorrt import PRECISIONS
from ...backends.trt.engines import EngineStore
from ...backends.trt.profile import Profile, Span
from ...benchmark.weights import choose_weights
from ...pipeline.engine_building import BuildRequest, build_pack, listing, summary
from ...utils.errors import FastFaceError, InvalidInput
from ...utils.images import Images
from ...utils.pictures import read_picture
from .comfyui import comfyui_around

_log = logging.getLogger("FastFace")
_MB = 1 << 20


def main(arguments: Sequence[str]) -> int:
    """Builds, or lists.

    Returns:
        0; 1 when it could not be done, or with --check when an engine is not fit.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        comfyui = options.comfyui or comfyui_around()
        store = EngineStore(comfyui / "user" / "__fastface" / "tensorrt" if comfyui else None)
        if options.list:
            _log.info("%s", listing(store))
            return 0
        request = _request(options)
        roots = (comfyui / "models" / "insightface",) if comfyui else ()
        pack = choose_weights(options.pack, roots).pack
        built = build_pack(pack, request, _Meter().show, store)
    except FastFaceError as error:
        _log.error("%s", error)
        return 1
    _log.info("%s", summary(pack, built))
    return int(options.check and any(not made.fitness.is_fit for made in built.engines))


def _parser() -> argparse.ArgumentParser:
    profile = Profile()
    parser = argparse.ArgumentParser(prog="python install.py engine", description=__doc__)
    parser.add_argument("photos", nargs="*", type=Path, help="compares answers on these")
    parser.add_argument(
        "--pack",
        help="name or folder of a model pack, or random:antelopev2, random:buffalo_l, "
        "random:buffalo_s: real layer sizes with random weights",
    )
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0])
    parser.add_argument("--best-batch", type=int, default=profile.batch.best)
    parser.add_argument("--max-batch", type=int, default=profile.batch.most)
    parser.add_argument("--min-size", type=int, default=profile.side.least)
    parser.add_argument("--best-size", type=int, default=profile.side.best)
    parser.add_argument("--max-size", type=int, default=profile.side.most)
    parser.add_argument("--workspace-mb", type=int, default=0, help="0 leaves it to the library")
    parser.add_argument("--device", type=int, default=0, help="index of the NVIDIA GPU")
    parser.add_argument("--rebuild", action="store_true", help="build what is there already, too")
    parser.add_argument(
        "--comfyui",
        type=Path,
        help="folder of the ComfyUI whose engines they are; by default the one this pack lies in",
    )
    parser.add_argument("--list", action="store_true", help="say what is built, and build nothing")
    parser.add_argument("--check", action="store_true", help="exit with 1 if an engine is not fit")
    return parser


def _request(options: argparse.Namespace) -> BuildRequest:
    if not options.pack:
        raise InvalidInput("got no pack, expected one to build engines of: --pack antelopev2")
    pictures = [torch.from_numpy(read_picture(photo))[None] for photo in options.photos]
    return BuildRequest(
        options.precision,
        Profile(
            Span(1, options.best_batch, options.max_batch),
            Span(options.min_size, options.best_size, options.max_size),
        ),
        options.workspace_mb * _MB,
        options.rebuild,
        Images.from_comfy(pictures) if pictures else None,
        options.device,
    )


class _Meter:
    """Says how far it is, at each tenth."""

    def __init__(self) -> None:
        self._said = 0

    def show(self, done: int, total: int) -> None:
        tenth = 10 * done // total
        if tenth > self._said:
            self._said = tenth
            _log.info("%d %%", 10 * tenth)
