"""What each node needs beyond ComfyUI and requirements.txt, and whether it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .diagnosis import Probe
from .needs import Need
from .remedies import Remedies


@dataclass(frozen=True)
class Use:
    """Something that a node does with packages that not everybody has.

    Attributes:
        node: The node's title.
        what: Which of its work that is; empty for all of it.
        modules: What is imported, all of it; of those divided by ` or ` one is enough.
    """

    node: str
    what: str
    modules: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.node}, {self.what}" if self.what else self.node


_TENSORRT = "tensorrt or tensorrt_rtx"

#: Whatever is not named here works with what ComfyUI and requirements.txt bring.
USES = (
    Use("FastFace Loader", "backend onnxruntime", ("onnxruntime", "onnx")),
    Use("FastFace Loader", "backend torch", ("onnx",)),
    Use("FastFace Loader", "backend openvino", ("openvino", "onnx")),
    Use("FastFace Loader", "backend tensorrt", (_TENSORRT, "onnx")),
    Use("FastFace Loader", "backend insightface", ("insightface", "onnxruntime", "cv2", "skimage")),
    Use("FastFace Loader", "backend facenet", ("facenet_pytorch", "torchvision")),
    Use("FastFace MTCNN", "", ("facenet_pytorch", "torchvision")),
    Use("FastFace Build Engine", "", (_TENSORRT, "onnx", "onnxruntime")),
    Use("FastFace Mask", "shape outline", ("scipy",)),
    Use("FastFace Keypoints", "", ("cv2",)),
    Use("FastFace Video", "films", ("av", "scipy")),
    Use("FastFace Tracks", "keypoints", ("cv2",)),
    Use("FastFace Tracks", "films", ("av",)),
    Use("FastFace Gallery Search", "thousands of people", ("faiss",)),
    Use("FastFace Gallery Edit", "HEIC photos", ("pillow_heif",)),
    Use("FastFace Video", "write parquet", ("pyarrow",)),
)


def node_needs(
    needs: Sequence[Need], probes: Mapping[str, Probe], remedies: Remedies
) -> dict[str, str]:
    """`works` or what to do, for everything in `USES`, by its title.

    Args:
        needs: Of all modules that `USES` names.
        probes: How each module went; one that is not there is absent.
        remedies: Makes the commands.
    """
    answers: dict[str, str] = {}
    by_module = {need.module: need for need in needs}
    for use in USES:
        wrong = []
        for choice in use.modules:
            modules = choice.split(" or ")
            states = {module: probes.get(module, Probe()) for module in modules}
            if any(probe.state == "works" for probe in states.values()):
                continue
            broken = [module for module, probe in states.items() if probe.broken]
            if broken:
                wrong.append(f"{broken[0]} {states[broken[0]].state.lower()}, see below")
            else:
                command = remedies.install(by_module[modules[-1]].requirement)
                wrong.append(f"{choice} is not installed: {command}")
        answers[use.title] = "; ".join(wrong) or "works"
    return answers
