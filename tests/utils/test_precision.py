"""TF32 is off while it has to be, and afterwards everything is as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fastface.backends.placement import RunsOn
from fastface.backends.sessions.torch_session import TorchSession
from fastface.utils.precision import full_float32

new_settings = pytest.mark.skipif(
    not hasattr(torch.backends, "fp32_precision"), reason="this torch has the older settings alone"
)


CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def in_effect() -> tuple[str, str]:
    return (
        str(torch.backends.cudnn.conv.fp32_precision),
        str(torch.backends.cuda.matmul.fp32_precision),
    )


def everything() -> tuple[str, ...]:
    backends = torch.backends
    settings: tuple[Any, ...] = (backends, backends.cudnn, backends.cudnn.conv, backends.cudnn.rnn)
    onednn: tuple[Any, ...] = (backends.mkldnn, backends.mkldnn.conv, backends.mkldnn.matmul)
    return tuple(str(owner.fp32_precision) for owner in (*settings, backends.cuda.matmul, *onednn))


def in_effect_on_cpu() -> tuple[str, str]:
    return torch.backends.mkldnn.conv.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision


@pytest.fixture
def as_at_the_start() -> Iterator[None]:
    yield
    torch.backends.fp32_precision = "none"
    torch.backends.cudnn.fp32_precision = "none"
    torch.backends.cuda.matmul.fp32_precision = "none"
    torch.backends.mkldnn.fp32_precision = "none"
    torch.backends.mkldnn.conv.fp32_precision = "none"
    torch.backends.mkldnn.matmul.fp32_precision = "none"
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")


def nothing() -> None: ...


def tf32_everywhere() -> None:
    torch.backends.fp32_precision = "tf32"


def tf32_on_cuda() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cudnn.fp32_precision = "tf32"


def older_settings() -> None:
    torch.set_float32_matmul_precision("high")


def off_already() -> None:
    torch.backends.cudnn.allow_tf32 = False


def bf16_everywhere() -> None:
    torch.backends.fp32_precision = "bf16"


def bf16_in_products() -> None:
    torch.set_float32_matmul_precision("medium")


def bf16_in_onednn() -> None:
    torch.backends.mkldnn.fp32_precision = "bf16"


WISHES = [nothing, tf32_everywhere, tf32_on_cuda, older_settings, off_already]
WISHES_FOR_CPUS = [nothing, tf32_everywhere, bf16_everywhere, bf16_in_products, bf16_in_onednn]


@new_settings
@pytest.mark.usefixtures("as_at_the_start")
@pytest.mark.parametrize("wish", WISHES)
def test_whatever_the_user_wishes_it_is_exact_within_and_as_before_after(
    wish: Callable[[], None],
) -> None:
    wish()
    before = everything()
    with full_float32(CUDA):
        assert set(in_effect()) <= {"ieee", "none"}
    assert everything() == before


@new_settings
@pytest.mark.usefixtures("as_at_the_start")
@pytest.mark.parametrize("wish", WISHES_FOR_CPUS)
def test_on_the_cpu_too(wish: Callable[[], None]) -> None:
    wish()
    before, on_cuda = everything(), in_effect()
    with full_float32(CPU):
        assert set(in_effect_on_cpu()) <= {"ieee", "none"}
        assert in_effect() == on_cuda, "of other devices nothing is changed"
    assert everything() == before


@new_settings
@pytest.mark.usefixtures("as_at_the_start")
def test_devices_of_other_libraries_change_nothing() -> None:
    bf16_everywhere()
    before = everything()
    with full_float32(torch.device("mps")):
        assert everything() == before


@new_settings
@pytest.mark.usefixtures("as_at_the_start")
def test_what_followed_a_setting_above_it_follows_it_still() -> None:
    torch.backends.fp32_precision = "tf32"
    with full_float32(CUDA):
        assert in_effect() == ("ieee", "ieee")
    torch.backends.fp32_precision = "ieee"
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"


@new_settings
@pytest.mark.usefixtures("as_at_the_start")
def test_it_lasts_until_the_last_thread_has_left() -> None:
    before = everything()
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with full_float32(CUDA):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=stay)
    with full_float32(CUDA):
        thread.start()
        assert entered.wait(10)
    assert in_effect()[0] == "ieee"
    leave.set()
    thread.join()
    assert everything() == before


@new_settings
@pytest.mark.usefixtures("as_at_the_start")
def test_an_error_within_changes_nothing() -> None:
    before = everything()
    with pytest.raises(ValueError, match="odd"), full_float32(CUDA):
        raise ValueError("odd")
    assert everything() == before


def test_torch_before_2_9_has_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    older = SimpleNamespace(
        cudnn=SimpleNamespace(allow_tf32=True),
        cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False)),
    )
    monkeypatch.setattr(torch, "backends", older)
    with full_float32(CUDA):
        assert (older.cudnn.allow_tf32, older.cuda.matmul.allow_tf32) == (False, False)
    assert (older.cudnn.allow_tf32, older.cuda.matmul.allow_tf32) == (True, False)
    with full_float32(CPU):
        assert (older.cudnn.allow_tf32, older.cuda.matmul.allow_tf32) == (True, False)


@new_settings
@pytest.mark.usefixtures("as_at_the_start")
@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize(("device", "exact"), [("cuda", True), ("cpu", False)])
def test_sessions_on_cuda_run_in_it(device: str, exact: bool, wish: Callable[[], None]) -> None:
    seen: list[tuple[str, str]] = []

    def network(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        seen.append(in_effect())
        return (x,)

    wish()
    runs_on = RunsOn(device, "torch")
    session = TorchSession(network, torch.device(device), torch.float32, runs_on)  # type: ignore[arg-type]
    session.run(torch.zeros(1, 3, 8, 8))
    assert (seen[0] != in_effect()) == (exact and wish is not off_already)


@new_settings
@pytest.mark.usefixtures("as_at_the_start")
@pytest.mark.parametrize("wish", WISHES_FOR_CPUS)
def test_sessions_on_the_cpu_run_in_it(wish: Callable[[], None]) -> None:
    seen: list[tuple[str, str]] = []

    def network(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        seen.append(in_effect_on_cpu())
        return (x,)

    wish()
    session = TorchSession(network, CPU, torch.float32, RunsOn("cpu", "torch"))  # type: ignore[arg-type]
    session.run(torch.zeros(1, 3, 8, 8))
    assert set(seen[0]) <= {"ieee", "none"}
