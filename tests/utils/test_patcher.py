"""Models in ComfyUI's list: who may touch the list, and when. With a stand-in for ComfyUI; with a
real one see tests/comfyui.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from fastface.utils.host import patcher

CPU = torch.device("cpu")


class Model:
    """A resident that counts how often it was loaded."""

    def __init__(self) -> None:
        self.is_loaded, self.loads = False, 0

    def load(self) -> None:
        self.is_loaded, self.loads = True, self.loads + 1

    def release(self) -> None:
        self.is_loaded = False


class ModelPatcher:
    """What is used of ComfyUI's."""

    def __init__(self, model: Any, load_device: Any, offload_device: Any, size: int) -> None:
        self.model, self.load_device, self.offload_device = model, load_device, offload_device
        self.size = size

    def model_size(self) -> int:
        return self.size

    def loaded_size(self) -> int:
        return self.model.model_loaded_weight_memory


@pytest.fixture
def comfyui(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A ComfyUI; set `node` to be inside a workflow, and `running` for there to be one."""
    state = SimpleNamespace(node=None, running={}, freed=[], listed=[])

    def load_models_gpu(patchers: list[Any]) -> None:
        for each in patchers:
            state.listed.append(each)
            each.load(each.load_device)

    modules = {
        "folder_paths": {"folder_names_and_paths": {}},
        "comfy": {},
        "comfy.model_patcher": {"ModelPatcher": ModelPatcher},
        "comfy.model_management": {
            "load_models_gpu": load_models_gpu,
            "free_memory": lambda size, device: state.freed.append((size, device)),
        },
        "comfy_execution": {},
        "comfy_execution.utils": {"get_executing_context": lambda: state.node},
        "server": {
            "PromptServer": SimpleNamespace(
                instance=SimpleNamespace(
                    prompt_queue=SimpleNamespace(currently_running=state.running)
                )
            )
        },
    }
    for name, content in modules.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    patcher._patcher_class.cache_clear()
    yield state
    patcher._patcher_class.cache_clear()


def test_with_no_workflow_comfyui_is_asked(comfyui: SimpleNamespace):
    model = Model()
    patcher.managed_memory(model, CPU, 10).require()
    patcher.make_room(5, CPU)
    assert (model.loads, len(comfyui.listed), comfyui.freed) == (1, 1, [(5, CPU)])


def test_beside_a_workflow_nothing_of_its_is_touched(comfyui: SimpleNamespace):
    comfyui.running[0] = "a prompt"
    model = Model()
    place = patcher.managed_memory(model, CPU, 10)
    place.require()
    place.require()
    patcher.make_room(5, CPU)
    assert (model.loads, comfyui.listed, comfyui.freed) == (1, [], [])

    # The workflow comes to need it: now ComfyUI gets to know it, and it is not loaded twice.
    comfyui.node = "its node"
    place.require()
    patcher.make_room(5, CPU)
    assert (model.loads, len(comfyui.listed), comfyui.freed) == (1, 1, [(5, CPU)])


def test_what_was_pushed_out_and_came_back_beside_a_workflow_is_listed_again(
    comfyui: SimpleNamespace,
):
    model = Model()
    place = patcher.managed_memory(model, CPU, 10)
    place.require()
    comfyui.listed.pop().detach()
    comfyui.running[0] = "a prompt"
    place.require()
    assert model.is_loaded and not comfyui.listed
    comfyui.node = "its node"
    place.require()
    assert len(comfyui.listed) == 1 and model.loads == 2


def test_a_comfyui_that_can_not_tell_is_asked(
    comfyui: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delattr(sys.modules["comfy_execution.utils"], "get_executing_context")
    comfyui.running[0] = "a prompt"
    patcher.managed_memory(Model(), CPU, 10).require()
    assert len(comfyui.listed) == 1
