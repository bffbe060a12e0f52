"""What is installed in the running interpreter, and what the machine has; nothing is imported."""

from __future__ import annotations

import ast
import ctypes
import importlib
import importlib.metadata
import importlib.util
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Installed:
    """What an interpreter has.

    Attributes:
        modules: Those of the modules asked about that can be found.
        distributions: Version of every installed package by its canonical name.
        onnxruntimes: Canonical names of the packages that bring the module `onnxruntime`; more
            than one overwrite each other.
    """

    modules: frozenset[str] = frozenset()
    distributions: Mapping[str, str] = field(default_factory=dict)
    onnxruntimes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machine:
    """What decides which packages fit.

    Attributes:
        system: `Linux`, `Windows` or `Darwin`.
        architecture: Of the processor, as `platform.machine()` calls it.
        python: Major and minor version of the interpreter.
        nvidia: Whether an NVIDIA GPU with a working driver is there.
        driver_cuda: The newest CUDA version the driver serves; None where unknown.
        torch_cuda: The CUDA version torch was built for; None for another build, or no torch.
        torch_other: The other accelerator torch was built for (`hip`, `xpu`); None where none.
    """

    system: str = "Linux"
    architecture: str = "x86_64"
    python: tuple[int, int] = (3, 12)
    nvidia: bool = False
    driver_cuda: tuple[int, int] | None = None
    torch_cuda: str | None = None
    torch_other: str | None = None


def look_for(modules: Iterable[str]) -> Installed:
    """Finds which modules and packages are there, without importing them."""
    importlib.invalidate_caches()
    versions: dict[str, str] = {}
    onnxruntimes: set[str] = set()
    for distribution in importlib.metadata.distributions():
        # Broken installations leave folders whose metadata has no name or no version.
        written, version = distribution.metadata["Name"], distribution.metadata["Version"]
        if not written or not version:
            continue
        name = canonical_name(written)
        versions.setdefault(name, version)  # imports find the first one too
        if name.startswith("onnxruntime") and brings(distribution, "onnxruntime"):
            onnxruntimes.add(name)
    found = frozenset(name for name in modules if is_found(name))
    return Installed(found, versions, tuple(sorted(onnxruntimes)))


def is_found(module: str) -> bool:
    """Whether a top-level module can be found; the empty folder of a removed package is none."""
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:  # a module put into sys.modules by hand
        return True
    return spec is not None and spec.origin is not None


def brings(distribution: importlib.metadata.Distribution, module: str) -> bool:
    """Whether a package holds a module; assumed where it does not list its files."""
    files = distribution.read_text("RECORD")
    return files is None or bool(re.search(rf"^{module}/__init__\.py,", files, re.MULTILINE))


def canonical_name(name: str) -> str:
    """A package's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def examine() -> Machine:
    """Looks at this machine: system, NVIDIA driver, and torch's build without importing it."""
    nvidia, driver_cuda = nvidia_driver()
    build = torch_build()
    other = next((name for name in ("hip", "xpu") if build.get(name)), None)
    return Machine(
        system=platform.system(),
        architecture=platform.machine(),
        python=sys.version_info[:2],
        nvidia=nvidia,
        driver_cuda=driver_cuda,
        torch_cuda=build.get("cuda"),
        torch_other=other,
    )


def nvidia_driver() -> tuple[bool, tuple[int, int] | None]:
    """Whether an NVIDIA GPU with a working driver is there, and the newest CUDA it serves."""
    try:
        answer = subprocess.run(
            ["nvidia-smi"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ask_driver_library()
    if answer.returncode or "No devices were found" in answer.stdout:
        return ask_driver_library()
    version = re.search(r"CUDA (?:\w+ )?Version\s*:\s*(\d+)\.(\d+)", answer.stdout)
    return True, (int(version[1]), int(version[2])) if version else None


def ask_driver_library() -> tuple[bool, tuple[int, int] | None]:
    """The same from the driver library itself, for containers that come without nvidia-smi."""
    name = {"Linux": "libcuda.so.1", "Windows": "nvcuda.dll"}.get(platform.system())
    if name is None:
        return False, None
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return False, None
    count, version = ctypes.c_int(), ctypes.c_int()
    calls = (
        lambda: driver.cuInit(0),
        lambda: driver.cuDeviceGetCount(ctypes.byref(count)),
        lambda: driver.cuDriverGetVersion(ctypes.byref(version)),
    )
    if any(call() for call in calls) or not count.value:
        return False, None
    return True, (version.value // 1000, version.value % 1000 // 10)


def torch_build() -> dict[str, str | None]:
    """What `torch/version.py` says of the build: `cuda`, `hip`, `xpu`; empty without torch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return {}
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return {}
    return read_torch_build(text)


def read_torch_build(text: str) -> dict[str, str | None]:
    """Reads lines like `cuda: Optional[str] = '13.2'` of `torch/version.py`."""
    build: dict[str, str | None] = {}
    for name, value in re.findall(r"^(cuda|hip|xpu)\b[^=\n]*=\s*(.+?)\s*$", text, re.MULTILINE):
        try:
            build[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            continue
    return build
