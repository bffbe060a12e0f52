"""Routes of the pack on somebody's web server: what is checked of a request, and what it shows."""

from __future__ import annotations

import asyncio
import json
import logging
import reprlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from .errors import BackendUnavailable, FastFaceError, InvalidInput
from .settings import WrongSetting

_log = logging.getLogger("FastFace")

#: No body that any route takes is nearly as long.
_LONGEST_BODY_BYTES = 64 << 10

#: Loading and unloading, one at a time: they must not take the threads that answer the rest.
_worker = ThreadPoolExecutor(1, "FastFace route")


@dataclass(frozen=True)
class Reply:
    """What a route answers."""

    text: str
    content_type: str = "application/json"
    status: int = 200


@dataclass(frozen=True)
class Route:
    """One route.

    Attributes:
        method: `GET`, or `POST` for what changes something and may take long.
        path: Such as `/fastface/status`.
        answer: Called in a thread with the body of a POST, a JSON object, else with nothing in it.
            What it raises as `InvalidInput` is the asker's fault, and its words are shown.
    """

    method: str
    path: str
    answer: Callable[[dict[str, Any]], Reply]


def handler(route: Route) -> Callable[[Any], Awaitable[Any]]:
    """The route as a handler for aiohttp; its work never holds up the server."""

    async def handle(request: Any) -> Any:
        from aiohttp import web

        loop = asyncio.get_running_loop()
        is_post = route.method == "POST"
        try:
            body = await _body(request) if is_post else {}
            reply = await _in_a_thread(loop, _worker if is_post else None, route, body)
        except WrongSetting as error:
            # What the variables say is the owner's business; that they are wrong is not.
            _log.error("%s %s: %s", route.method, route.path, error)
            names = ", ".join(error.variables)
            reply = as_json({"error": f"{names}: wrong; the log of ComfyUI says how"}, status=503)
        except InvalidInput as error:
            reply = as_json({"error": str(error)}, status=400)
        except FastFaceError as error:
            # Its words are for the owner of the machine: they name files and folders.
            _log.error("%s %s: %s", route.method, route.path, error)
            reply = as_json({"error": "it can't be done; the log of ComfyUI says why"}, status=503)
        return web.Response(text=reply.text, content_type=reply.content_type, status=reply.status)

    return handle


def _in_a_thread(
    loop: asyncio.AbstractEventLoop,
    executor: ThreadPoolExecutor | None,
    route: Route,
    body: dict[str, Any],
) -> asyncio.Future[Reply]:
    """Has a route answer in a thread.

    Raises:
        BackendUnavailable: None can be started.
    """
    try:
        return loop.run_in_executor(executor, route.answer, body)
    except RuntimeError as error:
        raise BackendUnavailable(
            f"no thread to answer in can be started ({error}): the system allows this process no "
            "more, or has no memory for it; close other programs and ask again"
        ) from error


async def _body(request: Any) -> dict[str, Any]:
    _check_length(request.content_length or 0)
    raw = await request.read()
    _check_length(len(raw))
    if not raw.strip():
        return {}
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise InvalidInput(f"the body is {reprlib.repr(body)}, expected a JSON object such as {{}}")
    return body


def _check_length(size_bytes: int) -> None:
    if size_bytes > _LONGEST_BODY_BYTES:
        raise InvalidInput(
            f"the body has {size_bytes} bytes, expected at most {_LONGEST_BODY_BYTES}"
        )


def as_json(value: Any, status: int = 200) -> Reply:
    """A reply whose body is `value` as JSON."""
    return Reply(json.dumps(value), status=status)


def choices_of(
    body: Mapping[str, Any], choices: Mapping[str, Callable[[], Sequence[str]]]
) -> dict[str, str]:
    """The fields of a body, when each is one of its choices.

    Args:
        body: A JSON object.
        choices: What each field may be, made when it is there.

    Raises:
        InvalidInput: Another field, or another value.
    """
    for name, value in body.items():
        if name not in choices:
            raise InvalidInput(
                f"got the field {reprlib.repr(name)}, expected some of {sorted(choices)}"
            )
        offered = choices[name]()
        if value not in offered:
            raise InvalidInput(f"got {name} {reprlib.repr(value)}, expected one of {list(offered)}")
    return dict(body)
