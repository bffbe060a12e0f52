"""A device that fails or is full costs speed or gives a clear error, and the next call works."""

from __future__ import annotations

import logging

import pytest
import torch

from fastface.backends.placement import Placement
from fastface.backends.residency import model_registry
from fastface.pipeline import lifecycle
from fastface.utils.errors import BackendUnavailable, ModelError, OutOfMemory
from tests.backends.residency.conftest import ONE, Engine, World

GPU, CPU = Placement("cuda", "mixed"), Placement("cpu")


def fails_on_the_gpu(error: Exception):
    def prepare(engine: Engine) -> None:
        engine.error = error if engine.runs_on.device == "cuda" else None

    return prepare


@pytest.mark.parametrize(
    "error", [BackendUnavailable("the driver is gone"), OutOfMemory("the card is full")]
)
def test_it_goes_on_elsewhere_with_one_warning(world: World, caplog, error: Exception) -> None:
    model = world.model(placement=GPU, slower=CPU, prepare=fails_on_the_gpu(error))
    before = model_registry.fallbacks()
    with caplog.at_level(logging.WARNING, logger="FastFace"):
        assert [model.run(ONE)[0].item() for _ in range(3)] == [2, 2, 2]
    (record,) = caplog.records
    assert "cuda failed, it runs on cpu" in record.message and str(error) in record.message
    assert [engine.runs_on.device for engine in world.opened] == ["cuda", "cpu"]
    (shown,) = lifecycle.loaded()
    assert shown.runs_on.device == "cpu" and str(error) in shown.runs_on.note
    assert model.runs_on.note == shown.runs_on.note
    assert model_registry.fallbacks() == before + 1


def test_once_released_it_tries_its_device_again(world: World) -> None:
    model = world.model(
        placement=GPU, slower=CPU, prepare=fails_on_the_gpu(BackendUnavailable("gone"))
    )
    model.run(ONE)
    lifecycle.unload()
    model.run(ONE)
    assert [engine.runs_on.device for engine in world.opened] == ["cuda", "cpu", "cuda", "cpu"]


def test_where_it_must_not_it_is_an_error_and_the_next_call_opens_it_anew(world: World) -> None:
    troubles = [BackendUnavailable("the driver is gone")]

    def prepare(engine: Engine) -> None:
        engine.error = troubles.pop() if troubles else None

    model = world.model(placement=GPU, prepare=prepare)
    with pytest.raises(BackendUnavailable, match="the driver is gone"):
        model.run(ONE)
    assert model.run(ONE)[0].item() == 2
    assert model.runs_on.device == "cuda" and len(world.opened) == 2


def test_a_full_card_is_for_the_caller_to_try_with_fewer(world: World) -> None:
    model = world.model(placement=GPU, slower=CPU, prepare=fails_on_the_gpu(OutOfMemory("full")))
    with pytest.raises(OutOfMemory, match="full"):
        model.run(torch.ones(4, 1))
    assert len(world.opened) == 1


def test_a_damaged_file_is_no_reason_to_go_elsewhere(world: World) -> None:
    model = world.model(placement=GPU, slower=CPU, prepare=fails_on_the_gpu(ModelError("damaged")))
    with pytest.raises(ModelError, match="damaged"):
        model.run(ONE)
    assert len(world.opened) == 1


@pytest.mark.parametrize("error", [OutOfMemory("no room"), torch.OutOfMemoryError("no room")])
def test_a_card_that_is_full_while_loading(world: World, caplog, error: Exception) -> None:
    def full(engine: Engine) -> None:
        if engine.runs_on.device == "cuda":
            raise error

    model = world.model(placement=GPU, slower=CPU, prepare=full)
    assert model.run(ONE)[0].item() == 2 and "no room" in model.runs_on.note
    assert "no room" in caplog.text
    with pytest.raises(OutOfMemory, match="no room"):
        world.model(placement=GPU, prepare=full)
