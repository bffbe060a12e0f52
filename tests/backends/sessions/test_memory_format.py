"""A network on a card keeps its features in the order in which it was measured to be faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastface.backends.placement import RunsOn
from fastface.backends.sessions import torch_session
from fastface.backends.sessions.memory_format import ORDERS, autotune
from fastface.backends.sessions.torch_session import TorchSession

onnx = pytest.importorskip("onnx")
helper = pytest.importorskip("onnx.helper")

from fastface.backends.onnx_graphs.graph import graph_of  # noqa: E402
from fastface.backends.onnx_graphs.network import Network  # noqa: E402
from tests.backends.onnx_graphs.small_graphs import model_of  # noqa: E402


@pytest.fixture
def network() -> Network:
    """Two convolutions over more than one channel, so that orders differ."""
    random = np.random.default_rng(0)
    constants = {
        "first": random.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32),
        "second": random.normal(0, 0.3, (4, 8, 3, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["x"], pads=[1] * 4),
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Conv", ["y", "second"], ["z"], pads=[1] * 4),
    ]
    model = model_of(nodes, constants, [1, 3, "h", "w"], ["z"], [[1, 4, "h", "w"]], 13)
    return Network(graph_of(model, "two")).eval()


def images(side: int = 16) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def lies_in(network: Network, order: torch.memory_format) -> bool:
    """Whether all of a network's weights, and what it gives, lie in an order."""
    (result,) = network(images())
    tensors = [*network.buffers(), result]
    return all(tensor.is_contiguous(memory_format=order) for tensor in tensors)


@pytest.mark.parametrize("name", ORDERS)
def test_gives_the_same_in_every_order(network: Network, name: str):
    (before,) = network(images())
    with torch.inference_mode():
        network.arrange(ORDERS[name])
    assert lies_in(network, ORDERS[name])
    torch.testing.assert_close(network(images())[0], before, rtol=1e-5, atol=1e-6)
    # Else the weights could be used in inference mode alone.
    assert not any(weight.is_inference() for weight in network.buffers())


@pytest.mark.parametrize("fastest", ORDERS)
def test_the_fastest_order_stays(network: Network, fastest: str):
    prepared: list[bool] = []

    def prepare() -> Callable[..., Any]:
        order = network.memory_format
        prepared.append(lies_in(network, order))
        return lambda x: order

    def seconds(run: Callable[..., Any], x: Tensor) -> float:
        return 1.0 if run(x) == ORDERS[fastest] else 2.0

    autotune(network, images(), prepare, seconds)
    assert prepared == [True] * len(ORDERS), "each was prepared in the order it was timed in"
    assert network.memory_format == ORDERS[fastest] and lies_in(network, ORDERS[fastest])


def test_what_has_no_room_for_a_trial_stays_as_it_was(network: Network):
    def seconds(run: Callable[..., Any], x: Tensor) -> float:
        if network.memory_format == torch.contiguous_format:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1.0

    with pytest.raises(torch.OutOfMemoryError):
        autotune(network, images(), lambda: network, seconds)
    assert lies_in(network, torch.channels_last)


class Card:
    """Stands in for a card's driver, on the CPU.

    Attributes:
        tried: Inputs with which orders were tried.
        recorded: Orders of the inputs that runs were recorded with.
    """

    def __init__(self, order: str) -> None:
        self._order = ORDERS[order]
        self.tried: list[tuple[int, ...]] = []
        self.recorded: list[str] = []

    def arrange(self, network: Network, x: Tensor, prepare: Callable[[], Any]) -> None:
        self.tried.append(tuple(x.shape))
        network.arrange(self._order)

    def captured(self, way: Callable[..., Any], x: Tensor) -> Callable[..., Any]:
        self.recorded += [
            name for name, order in ORDERS.items() if x.is_contiguous(memory_format=order)
        ]
        return way


@pytest.fixture
def card(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Card:
    card = Card(getattr(request, "param", "channels first"))
    monkeypatch.setattr(torch_session, "autotune", card.arrange)
    monkeypatch.setattr(torch_session, "captured", card.captured)
    return card


def session(network: Any, device: str = "cuda", **options: bool) -> TorchSession:
    runs_on = RunsOn(device, "torch fp32")
    return TorchSession(network, torch.device(device), torch.float32, runs_on, **options)


@pytest.mark.parametrize("card", ORDERS, indirect=True)
def test_orders_are_tried_once_when_a_shape_keeps_coming(
    network: Network, card: Card, request: pytest.FixtureRequest
):
    (expected,) = network(images())
    opened = session(network)
    for run in range(1, 6):
        torch.testing.assert_close(opened.run(images())[0], expected, rtol=1e-5, atol=1e-6)
        assert len(card.tried) == (run >= 3)
    for _ in range(4):
        opened.run(images(24))
    # Another shape, and what is recorded anew after an absence, go by what was found.
    opened.leave_device()
    opened.run(images())
    assert card.tried == [(2, 3, 16, 16)]
    order = request.node.callspec.params["card"]
    assert card.recorded == [order] * 3


def test_nothing_is_tried_where_it_is_of_no_use(network: Network, card: Card):
    for opened in (
        session(network, "cpu"),
        session(network, captures=False),
        session(lambda x: (x,)),
    ):
        for _ in range(5):
            opened.run(images())
    assert card.tried == []
    # Only the last one is recorded, in the order that all begin with.
    assert card.recorded == ["channels last"]


def test_compiled_code_stays_in_its_order(network: Network, card: Card, monkeypatch):
    opened = session(network, compiles=True)
    monkeypatch.setattr(opened, "_compiled", lambda x, plain: network)
    for _ in range(5):
        opened.run(images())
    assert card.tried == [] and card.recorded == ["channels last"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")
def test_a_card_finds_its_order(network: Network):
    (expected,) = network(images())
    opened = session(network.to("cuda"))
    for _ in range(5):
        (got,) = opened.run(images().to("cuda"))
        torch.testing.assert_close(got.cpu(), expected, rtol=1e-3, atol=1e-4)
    assert lies_in(network.cpu(), network.memory_format)
