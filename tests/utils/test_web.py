"""Routes on a real aiohttp server: what they refuse and hide, and that they hold up nobody."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastface.utils.errors import InvalidInput, ModelError
from fastface.utils.settings import WrongSetting
from fastface.utils.web import Reply, Route, as_json, choices_of, handler
from tests.utils.properties import steady

pytest.importorskip("aiohttp")


def talk(routes: list[Route], conversation: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    """Runs a conversation with a server that has these routes."""
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer

    async def run() -> None:
        table = web.RouteTableDef()
        for route in routes:
            table.route(route.method, route.path)(handler(route))
        app = web.Application()
        app.add_routes(table)
        async with TestClient(TestServer(app)) as client:
            await asyncio.wait_for(conversation(client), 60)

    asyncio.run(run())


def echo(body: dict[str, Any]) -> Reply:
    return as_json(choices_of(body, {"pack": lambda: ["a", "b"]}))


ECHO = Route("POST", "/echo", echo)


@pytest.mark.parametrize(
    ("body", "answer"), [("", {}), ("  \n", {}), ("{}", {}), ('{"pack": "b"}', {"pack": "b"})]
)
def test_right_bodies(body: str, answer: dict[str, Any]):
    async def conversation(client: Any) -> None:
        reply = await client.post("/echo", data=body)
        assert (reply.status, await reply.json()) == (200, answer)
        assert reply.content_type == "application/json"

    talk([ECHO], conversation)


WRONG = [
    ("{", "the body is not JSON"),
    ("\xff", "the body is not JSON"),
    ("[" * 30_000, "the body is not JSON"),
    ("[]", "the body is [], expected a JSON object"),
    ("null", "the body is None, expected a JSON object"),
    ('{"path": "/etc"}', "got the field 'path', expected some of ['pack']"),
    ('{"pack": "../a"}', "got pack '../a', expected one of ['a', 'b']"),
    ('{"pack": ["a"]}', "got pack ['a'], expected one of"),
    ('{"pack": null}', "got pack None, expected one of"),
    ('{"pack": "' + "x" * 100_000 + '"}', "bytes, expected at most 65536"),
    ('{"pack": "' + "x" * 10_000 + '"}', "expected one of ['a', 'b']"),
]


@pytest.mark.parametrize(("body", "reason"), WRONG, ids=[body[:20] for body, _ in WRONG])
def test_wrong_bodies_are_refused_with_the_reason(body: str, reason: str):
    async def conversation(client: Any) -> None:
        reply = await client.post("/echo", data=body.encode("latin-1"))
        text = (await reply.json())["error"]
        assert reply.status == 400 and reason in text and len(text) < 300

    talk([ECHO], conversation)


def test_a_long_body_without_a_length_is_refused_too():
    async def conversation(client: Any) -> None:
        async def pieces() -> Any:
            for _ in range(100):
                yield b" " * 1000

        reply = await client.post("/echo", data=pieces())
        assert reply.status == 400

    talk([ECHO], conversation)


def test_what_goes_wrong_here_shows_no_file(caplog: pytest.LogCaptureFixture):
    def fail(body: dict[str, Any]) -> Reply:
        raise ModelError("/models/secret.onnx is damaged")

    async def conversation(client: Any) -> None:
        reply = await client.get("/fail")
        text = await reply.text()
        assert reply.status == 503 and "secret" not in text and "/" not in text

    with caplog.at_level(logging.ERROR, "FastFace"):
        talk([Route("GET", "/fail", fail)], conversation)
    assert "/models/secret.onnx is damaged" in caplog.text


def test_a_wrong_setting_shows_its_name_alone(caplog: pytest.LogCaptureFixture):
    def fail(body: dict[str, Any]) -> Reply:
        raise WrongSetting({"FASTFACE_MODELS": "FASTFACE_MODELS is '/home/secret', expected more"})

    async def conversation(client: Any) -> None:
        reply = await client.post("/fail")
        text = await reply.text()
        assert reply.status == 503 and "FASTFACE_MODELS" in text and "secret" not in text

    talk([Route("POST", "/fail", fail)], conversation)
    assert "/home/secret" in caplog.text


def test_work_that_takes_long_holds_up_no_other_answer():
    """Several slow requests at once: the quick route must answer while none of them is done."""
    may_end = threading.Event()

    def slow(body: dict[str, Any]) -> Reply:
        assert may_end.wait(30)
        return as_json("slow")

    routes = [
        Route("POST", "/slow", slow),
        Route("GET", "/quick", lambda body: as_json("quick")),
    ]

    async def conversation(client: Any) -> None:
        working = [asyncio.create_task(client.post("/slow")) for _ in range(50)]
        for _ in range(20):
            assert await (await client.get("/quick")).json() == "quick"
        assert not any(task.done() for task in working)
        may_end.set()
        assert {(await task).status for task in working} == {200}

    talk(routes, conversation)


VALUES = st.sampled_from(["a", "b", "cpu", "", "../a", "A", None, 0, 1.5, True, [], ["a"], {}])


@steady(100)
@given(st.dictionaries(st.sampled_from(["pack", "device", "x"]), VALUES))
def test_only_choices_come_through(body: dict[str, Any]):
    choices = {"pack": lambda: ["a", "b"], "device": lambda: ["cpu"]}
    try:
        chosen = choices_of(body, choices)
    except InvalidInput:
        assert any(value not in choices.get(name, list)() for name, value in body.items())
        return
    assert chosen == body and set(chosen) <= set(choices)
    assert all(value in choices[name]() for name, value in chosen.items())


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_thread_that_can_not_be_started_is_an_answer_too(
    method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    async def conversation(client: Any) -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", refuse)
        reply = await client.request(method, "/echo")
        assert reply.status == 503 and "log" in (await reply.json())["error"]

    talk([Route(method, "/echo", echo)], conversation)
    assert "no thread to answer in can be started (can't start new thread)" in caplog.text
