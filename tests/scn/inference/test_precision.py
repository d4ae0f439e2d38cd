"""bfloat16 is computed where the device has it, and float32, which is not TF32, everywhere else."""

import platform
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scn.inference.apply import apply, prepare
from scn.inference.precision import Precision, autocast, computed, exact, has_bfloat16, kind_of

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("architecture", "capabilities", "expected"),
    [
        ("x86_64", {"avx2": True}, False),
        ("x86_64", {"avx2": True, "avx512_f": True, "avx512_vnni": True, "avx512_bf16": False}, False),
        ("x86_64", {"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, True),
        ("x86_64", {"avx512_f": True, "amx_bf16": True}, True),
        ("aarch64", {"neon": True}, True),
    ],
)
def test_which_processors_have_bfloat16(
    monkeypatch: pytest.MonkeyPatch, architecture: str, capabilities: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: architecture)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert has_bfloat16(CPU) is expected
    assert computed(CPU, "bfloat16") == ("bfloat16" if expected else "float32")
    with autocast(CPU, "bfloat16"):
        assert torch.is_autocast_enabled("cpu") is expected
    with autocast(CPU, "float32"):
        assert not torch.is_autocast_enabled("cpu")


def settings() -> list[str]:
    """How PyTorch computes float32 on a GPU and a CPU: products of matrices, convolutions."""
    backends: Any = torch.backends
    places = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    return [place.fp32_precision for place in places]


@pytest.fixture
def tf32() -> Iterator[list[str]]:
    """PyTorch, told to compute float32 in TF32."""
    backends: Any = torch.backends
    before = settings()
    backends.cuda.matmul.fp32_precision = backends.cudnn.conv.fp32_precision = "tf32"
    yield settings()
    backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision = before[:2]


def test_float32_is_exact_inside_and_what_it_was_outside(tf32: list[str]) -> None:
    assert tf32[:2] == ["tf32", "tf32"]
    seen: list[str] = []

    def fail() -> None:
        with exact():
            seen.extend(settings())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen == ["ieee"] * 4
    assert settings() == tf32


def test_threads_that_enter_and_leave_in_turns_compute_exactly(tf32: list[str]) -> None:
    """The first one in is the first one out, while the second one computes."""
    seen: dict[str, list[str]] = {}
    entered, followed, left = (threading.Event() for _ in range(3))

    def first() -> None:
        with exact():
            entered.set()
            assert followed.wait(10)
        left.set()

    def second() -> None:
        assert entered.wait(10)
        with exact():
            followed.set()
            assert left.wait(10)
            seen["inside"] = settings()

    with ThreadPoolExecutor(2) as threads:
        for turn in [threads.submit(first), threads.submit(second)]:
            turn.result()
    assert seen["inside"] == ["ieee"] * 4
    assert settings() == tf32


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_networks_are_applied_in_exact_float32(tf32: list[str], precision: Precision) -> None:
    seen: list[str] = []

    def network(x: Tensor) -> Tensor:
        seen.extend(settings())
        return x

    apply(network, np.zeros((1, 4, 4, 1), np.float32), CPU, precision)
    assert seen == ["ieee"] * 4
    assert settings() == tf32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_computes_float32_and_not_tf32(tf32: list[str]) -> None:
    network = torch.nn.Conv2d(64, 64, 3).requires_grad_(False)
    images = np.random.default_rng(0).random((1, 32, 32, 64), np.float32)
    gpu = torch.device("cuda")
    expected = network.double()(torch.from_numpy(images).double().permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    prepare(network.float(), gpu)
    np.testing.assert_allclose(apply(network, images, gpu), expected, rtol=0, atol=1e-5)  # TF32: 1e-3
    x = torch.from_numpy(images).to(gpu).permute(0, 3, 1, 2)
    assert np.abs(network(x).permute(0, 2, 3, 1).cpu().numpy() - expected).max() > 1e-5
    assert kind_of(gpu) == torch.cuda.get_device_name()


def test_whether_a_gpu_has_bfloat16_is_asked_of_that_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    current = [torch.device("cuda", 0)]

    @contextmanager
    def device(of: torch.device) -> Iterator[None]:
        current.append(of)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: current[-1].index == 1)
    assert [has_bfloat16(torch.device("cuda", index)) for index in range(2)] == [False, True]
    assert len(current) == 1
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not has_bfloat16(torch.device("cuda"))


def test_the_kind_of_a_processor_is_what_its_instructions_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": False}, raising=False)
    assert kind_of(CPU) == kind_of(CPU, "bfloat16") == "CPU, AVX512"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": True}, raising=False)
    assert (kind_of(CPU), kind_of(CPU, "bfloat16")) == ("CPU, AVX512", "CPU, AVX512, AMX")
