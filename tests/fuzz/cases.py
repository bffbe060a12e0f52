"""One case of a fuzz target: what is tried, and how that is judged."""

from __future__ import annotations

import random
import sys
import traceback
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from fastface.utils.errors import FastFaceError
from tests.fuzz.outcomes import BARE, FINE, NAMED, Outcome

#: A case whose process is larger afterwards by more than this took memory that its input can't be
#: worth: files are a few megabytes, images a few thousand pixels.
MOST_GROWTH_BYTES = 1 << 30


class Broken(AssertionError):
    """What a target finds to be wrong where nothing was raised; the message says what."""


class Target(ABC):
    """A part of the pack, and how odd input for it is made.

    Each is the only one in its file, whose name it has.

    Attributes:
        about: What is tried, in a few words.
    """

    about: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        """`folder`: an empty one, for the target's own files."""
        self.folder = folder

    @property
    def name(self) -> str:
        """What users choose it by: the name of its file."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def run(self, chance: random.Random) -> None:
        """Tries one case.

        Args:
            chance: Decides everything about the case: the same numbers make the same case.

        Raises:
            FastFaceError: What was tried is refused by name, which is as it should be.
            Broken: Nothing was raised, but what came of it is wrong.
            Exception: A bare error, which this is all about.
        """

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Lets go of what it holds, such as servers."""


def run_case(target: Target, seed: int, number: int) -> Outcome:
    """Runs one case and judges it; interruptions and the end of the process pass through."""
    # A string: unlike a tuple's, its numbers are the same in every process and version of Python.
    chance = random.Random(f"{seed}/{target.name}/{number}")
    before = peak_bytes()
    try:
        target.run(chance)
    except FastFaceError as error:
        return _outcome(target, number, NAMED, error)
    except Exception as error:  # noqa: BLE001 - finding these is the purpose
        return _outcome(target, number, BARE, error)
    finally:
        grown = peak_bytes() - before
    if grown > MOST_GROWTH_BYTES:
        text = f"the process took {grown >> 20:,} MiB more, expected at most 1,024 MiB"
        return Outcome(target.name, number, BARE, "Growth", text=text)
    return Outcome(target.name, number, FINE)


def _outcome(target: Target, number: int, kind: str, error: BaseException) -> Outcome:
    text = str(error)
    if kind == BARE:
        text = "".join(traceback.format_exception(error))
    return Outcome(target.name, number, kind, type(error).__name__, _place(error), text)


def _place(error: BaseException) -> str:
    root = str(Path(__file__).parents[2])
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(root)]
    inner = [frame for frame in own if "/tests/" not in frame.filename.replace("\\", "/")] or own
    if not inner:
        return ""
    return f"{Path(inner[-1].filename).relative_to(root).as_posix()}:{inner[-1].lineno}"


def peak_bytes() -> int:
    """The most main memory that this process ever had; 0 where the system doesn't say."""
    if sys.platform == "win32":
        return 0
    if sys.platform == "linux":
        # Not ru_maxrss: a process begins with that of whoever started it.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
