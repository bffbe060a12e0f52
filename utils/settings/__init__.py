"""What users set by environment variables.

What runs reads them through `settings()`, which refuses wrong ones. What lists, watches and reports
reads them through `settings_or_defaults()`, so that a wrong variable costs no node.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput

if TYPE_CHECKING:
    from .fields import Reading, Settings


_log = logging.getLogger("FastFace")
_lock = threading.Lock()
#: The variables last read, and what they said.
_known: tuple[tuple[str | None, ...], Reading] | None = None


class WrongSetting(InvalidInput):
    """Environment variables can't be used.

    The message shows their values, which may be nobody else's business; `variables` are their
    names alone.
    """

    def __init__(self, wrong: Mapping[str, str]) -> None:
        """`wrong`: for each variable what it is and what it may be."""
        super().__init__(f"{'; '.join(wrong.values())}; docs/SETTINGS.md says what each may be")
        self.variables = tuple(wrong)
        self._wrong = dict(wrong)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._wrong,)


def settings() -> Settings:
    """The settings as the environment has them now; a change counts from the next use on.

    Cheap enough for every call: the variables are only checked again when one has changed.

    Raises:
        WrongSetting: Variables have values that can't be used; names them all.
    """
    reading = _reading()
    if reading.wrong:
        raise WrongSetting(reading.wrong)
    return reading.settings


def settings_or_defaults() -> Settings:
    """The same for what must go on: a wrong variable counts as not set, and the log says so."""
    return _reading().settings


def _reading() -> Reading:
    global _known
    # Imported here because pydantic takes half of what importing the whole pack may take.
    from .fields import VARIABLES, read

    values = tuple(map(os.environ.get, VARIABLES))
    known = _known
    if known is None or known[0] != values:
        with _lock:
            known = _known = (values, read(dict(zip(VARIABLES, values, strict=True))))
        if known[1].wrong:
            _log.warning("what needs the settings can't run: %s", WrongSetting(known[1].wrong))
    return known[1]
