"""The one command that mends a thing, as text to paste into a shell."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from .console import command_line
from .machine import Installed, Machine

INSTALL_SCRIPT = Path(__file__).resolve().parents[1] / "install.py"
#: Torch's builds for one accelerator each are published below this address.
TORCH_BUILDS = "https://download.pytorch.org/whl/"
#: Packages that are built against each other and move together.
TORCH_FAMILY = ("torch", "torchvision", "torchaudio")


class Remedies:
    """Writes commands for one interpreter.

    Args:
        front: How packages are installed there, from `packages.front_end`; pip's own when None.
        installed: What is there.
        python: The interpreter.
    """

    def __init__(
        self, front: Sequence[str] | None, installed: Installed, python: str = sys.executable
    ) -> None:
        self._front = list(front or (python, "-m", "pip"))
        self._installed = installed
        self._python = python

    @property
    def _with_pip(self) -> bool:
        return self._front[1:] == ["-m", "pip"]

    def run_installer(self) -> str:
        """Runs install.py, which adds what is missing."""
        return command_line([self._python, str(INSTALL_SCRIPT)])

    def bring_pip(self) -> str:
        """Puts pip into the interpreter."""
        return command_line([self._python, "-m", "ensurepip", "--upgrade"])

    def install(self, *arguments: str) -> str:
        """Installs as told by pip's arguments."""
        where = [] if self._with_pip else ["--python", self._python]
        return command_line([*self._front, "install", *where, *arguments])

    def uninstall(self, *names: str) -> str:
        """Removes packages."""
        how = ["--yes"] if self._with_pip else ["--python", self._python]
        return command_line([*self._front, "uninstall", *how, *names])

    def reinstall(self, name: str) -> str:
        """Installs the same version of a package again and moves nothing else."""
        version = self._installed.distributions.get(name)
        wanted = f"{name}=={version}" if version else name
        index = self._torch_index() if name in TORCH_FAMILY else []
        again = "--force-reinstall" if self._with_pip else "--reinstall"
        return self.install(again, "--no-deps", wanted, *index)

    def add_torchvision(self) -> str:
        """Adds the torchvision for the torch that is there, or both."""
        torch = self._installed.distributions.get("torch")
        if torch is None:
            return self.install("torch", "torchvision")
        return self.install("torchvision", f"torch=={torch}", *self._torch_index())

    def torch_for_gpu(self, machine: Machine) -> str:
        """Replaces torch by the build for the NVIDIA driver's CUDA version."""
        family = [name for name in TORCH_FAMILY if name in self._installed.distributions]
        # CUDA runs on any driver of its own major version.
        build = "cu126" if machine.driver_cuda and machine.driver_cuda < (13, 0) else "cu130"
        return self.one_after_the_other(
            self.uninstall(*family),
            self.install(*family, "--index-url", TORCH_BUILDS + build),
        )

    def one_onnxruntime(self, names: Sequence[str]) -> str:
        """Removes the ONNX Runtime packages and lets install.py choose the one that fits."""
        return self.one_after_the_other(self.uninstall(*names), self.run_installer())

    @staticmethod
    def one_after_the_other(first: str, second: str) -> str:
        """Two commands as one."""
        return f"{first} && {second}"

    def _torch_index(self) -> list[str]:
        """Where the build of the installed torch comes from; the default index if it names none."""
        _, _, build = self._installed.distributions.get("torch", "").partition("+")
        known = re.fullmatch(r"cpu|xpu|cu\d+|rocm[\d.]+", build)
        return ["--index-url", TORCH_BUILDS + build] if known else []
