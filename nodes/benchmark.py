"""`FastFaceBenchmark`: measures the backends that are here, and those of others."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from ..utils import host
from ..utils.errors import InvalidInput
from .node_progress import reporter
from .socket_checks import readable_images
from .sockets import (
    CATEGORY,
    image_input,
)


class FastFaceBenchmark:
    DISPLAY_NAME = "FastFace Benchmark"
    CATEGORY = CATEGORY
    SEARCH_ALIASES = (
        "face benchmark",
        "insightface speed",
        "compare backends",
        "onnxruntime speed",
    )
    DESCRIPTION = (
        "Times face analysis on this machine with your images: this pack's backends, insightface, "
        "facenet-pytorch and others that are installed, in turns, each in a process of its own; "
        "and compares their answers. A backend that is missing is listed with the reason."
    )
    FUNCTION = "measure"
    OUTPUT_NODE = True
    RETURN_TYPES = ("STRING", "IMAGE", "STRING")
    RETURN_NAMES = ("report", "chart", "json")
    OUTPUT_TOOLTIPS = (
        "Tables: speed, quartiles, memory, parity with the reference, what ran where, and whether "
        "the machine was quiet.",
        "Images per second as bars, with quartiles.",
        "Everything that was measured; `install.py bench --schema` prints the schema.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        from ..benchmark.weights import weight_names
        from ..benchmark.workloads import JOBS
        from ..pipeline.choices import device_names

        return {
            "required": {
                "images": image_input("These are what is analysed."),
                "model_pack": (
                    weight_names(host.insightface_roots()),
                    {
                        "tooltip": "The weights of all who share weights. `auto` takes an "
                        "installed pack, or random weights if there is none. `random:` packs have "
                        "real layer sizes and random weights: their speed is real, the faces they "
                        "find are not."
                    },
                ),
                "job": (
                    list(JOBS),
                    {
                        "tooltip": "; ".join(f"{name}: {job.title}" for name, job in JOBS.items())
                        + ". The last three take one image, whatever the batch."
                    },
                ),
                "contestants": (
                    "STRING",
                    {
                        "default": "onnxruntime, torch, facenet, insightface",
                        "tooltip": "Backends and others, separated by commas; empty takes everyone "
                        "who is known. A wrong name is answered with the list.",
                    },
                ),
                "device": (
                    device_names(),
                    {"tooltip": "Where they run; `auto` is the best device of each."},
                ),
                "precisions": (
                    "STRING",
                    {
                        "default": "fp32",
                        "tooltip": "fp32, mixed, fp16, bf16, separated by commas. Who offers none "
                        "of them is listed with the reason.",
                    },
                ),
                "batch": (
                    "INT",
                    {
                        "default": 1,
                        "min": 1,
                        "max": 256,
                        "step": 1,
                        "tooltip": "Images a call; your images are repeated if they are fewer.",
                    },
                ),
                "det_size": (
                    "INT",
                    {
                        "default": 640,
                        "min": 64,
                        "max": 4096,
                        "step": 32,
                        "tooltip": "Side in pixels of the square that the detector sees.",
                    },
                ),
                "rounds": (
                    "INT",
                    {
                        "default": 5,
                        "min": 1,
                        "max": 1000,
                        "step": 1,
                        "tooltip": "Turns of each contestant. 5 give an impression, 25 a figure "
                        "to publish. Each costs about a quarter of a second and one call.",
                    },
                ),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(cls, **_inputs: Any) -> float:
        # A measurement from ComfyUI's cache is none.
        return float("nan")

    def measure(
        self,
        images: Tensor,
        model_pack: str = "auto",
        job: str = "detect",
        contestants: str = "",
        device: str = "auto",
        precisions: str = "fp32",
        batch: int = 1,
        det_size: int = 640,
        rounds: int = 5,
        node_id: str | None = None,
    ) -> dict[str, Any]:
        from ..backends.placement import PRECISIONS
        from ..benchmark.chart import draw_chart
        from ..benchmark.history import history_file, remember
        from ..benchmark.plan import Options
        from ..benchmark.result_text import as_text
        from ..benchmark.runner import run_benchmark
        from ..benchmark.weights import choose_weights

        checked = readable_images(images)
        if not len(checked):
            raise InvalidInput("got no image, expected one at least; load one and connect it")
        options = Options(
            jobs=(job,),
            contestants=_names(contestants),
            devices=(device,),
            precisions=_names(precisions) or PRECISIONS,
            batches=(batch,),
            det_size=det_size,
            rounds=rounds,
            source="image",
        )
        photos = [
            picture for chunk in checked.chunks() for picture in chunk.to_uint8().cpu().numpy()
        ]
        result = run_benchmark(
            options,
            photos,
            choose_weights(model_pack, host.insightface_roots(), allow_path=False),
            on_progress=reporter(node_id),
            check_interrupted=host.check_interrupted,
            command="the node FastFace Benchmark",
        )
        remember(result, history_file())
        text, chart = host.redacted(as_text(result)), draw_chart(result)
        picture = torch.from_numpy(chart).float().div(255)[None]
        return {
            "ui": host.node_text(text) | host.preview([chart]),
            "result": (text, picture, json.dumps(result, indent=1)),
        }


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


NODES = {"FastFaceBenchmark": FastFaceBenchmark}
