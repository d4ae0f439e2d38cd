"""bfloat16 is computed where the device has it, and float32 everywhere else."""

import platform

import pytest
import torch

from scn.inference.precision import autocast, computed, has_bfloat16

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("architecture", "capability", "expected"),
    [("x86_64", "AVX2", False), ("x86_64", "AVX512", True), ("x86_64", "DEFAULT", False), ("aarch64", "SVE256", True)],
)
def test_which_processors_have_bfloat16(
    monkeypatch: pytest.MonkeyPatch, architecture: str, capability: str, expected: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: architecture)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert has_bfloat16(CPU) is expected
    assert computed(CPU, "bfloat16") == ("bfloat16" if expected else "float32")
    with autocast(CPU, "bfloat16"):
        assert torch.is_autocast_enabled("cpu") is expected
    with autocast(CPU, "float32"):
        assert not torch.is_autocast_enabled("cpu")
