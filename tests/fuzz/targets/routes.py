"""The routes on ComfyUI's web server, asked by anybody."""

from __future__ import annotations

import asyncio
import json
import os
import random
from pathlib import Path
from typing import Any

from fastface.nodes.routes import ROUTES
from fastface.utils.web import handler
from tests.fuzz.cases import Broken, Target
from tests.fuzz.odd_bytes import damaged
from tests.fuzz.odd_values import odd_json, odd_text
from tests.fuzz.small_pack import write_small_pack

#: What a route may answer: done, wrong question, unknown route, wrong method, not possible now.
_STATUSES = {200, 400, 404, 405, 413, 415, 503}
_FIELDS = ("pack", "backend", "device", "precision")
_WORDS = ("small", "auto", "onnxruntime", "torch", "cpu", "cuda", "fp32", "fp16", "none")


class Routes(Target):
    about = "every route, with odd bodies, methods and headers"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        pack = write_small_pack(folder / "packs" / "small")
        self._before = os.environ.get("FASTFACE_MODELS")
        os.environ["FASTFACE_MODELS"] = str(pack.parent)
        self._loop = asyncio.new_event_loop()
        self._client = self._loop.run_until_complete(_client())

    def run(self, chance: random.Random) -> None:
        self._loop.run_until_complete(asyncio.wait_for(self._ask(chance), 60))

    async def _ask(self, chance: random.Random) -> None:
        route = chance.choice(ROUTES)
        method = route.method if chance.random() < 0.9 else chance.choice(("GET", "POST", "PUT"))
        path = route.path if chance.random() < 0.95 else f"{route.path}/{chance.randrange(9)}"
        headers = {}
        if chance.random() < 0.2:
            headers["Content-Type"] = chance.choice(("text/plain", "application/json; charset=x"))
        body = _body(chance)
        async with self._client.request(method, path, data=body, headers=headers) as reply:
            text = await reply.text()
            if reply.status not in _STATUSES:
                raise Broken(f"{method} {path} {body[:200]!r} gave {reply.status}: {text[:300]}")
            if reply.content_type == "application/json":
                json.loads(text)
            if str(self.folder) in text and reply.status != 200:
                raise Broken(f"{method} {path} tells of files: {text[:300]}")

    def close(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()
        if self._before is None:
            os.environ.pop("FASTFACE_MODELS", None)
        else:
            os.environ["FASTFACE_MODELS"] = self._before


async def _client() -> Any:
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer

    table = web.RouteTableDef()
    for route in ROUTES:
        table.route(route.method, route.path)(handler(route))
    app = web.Application()
    app.add_routes(table)
    client = TestClient(TestServer(app))
    await client.start_server()
    return client


def _body(chance: random.Random) -> bytes:
    kind = chance.randrange(6)
    if kind == 0:
        return b""
    if kind in (1, 2, 3):
        fields = chance.sample(_FIELDS, chance.randint(0, 3))
        value: Any = {
            field: chance.choice(_WORDS) if chance.random() < 0.7 else odd_json(chance)
            for field in fields
        }
        if chance.random() < 0.2:
            value[odd_text(chance)] = odd_json(chance)
    elif kind == 4:
        value = odd_json(chance)
    else:
        return chance.choice((b"[" * 50_000, b"\xff\xfe", b"{" + b" " * 70_000 + b"}", b"1" * 5000))
    content = json.dumps(value).encode()
    return damaged(content, chance) if chance.random() < 0.2 else content
