"""The benchmark of several workers: its model is right where it is known, and its parts run at a tiny size."""

import pytest

from benchmarks import scaling


def test_the_model_of_a_step() -> None:
    sent = scaling.all_reduce_seconds(8e6, 4, latency_s=1e-3, bytes_per_s=1e8)
    assert sent == pytest.approx(6 * 1e-3 + 1.5 * 0.08)
    small = {"size": 1e6, "workers": 2, "latency_s": 0.0, "bytes_per_s": 1e8}
    assert scaling.step_seconds(1.0, **small) == pytest.approx(1.01)  # one bucket: nothing is left to hide it
    large = small | {"size": 10 * scaling.BUCKET_BYTES}
    sending = large["size"] / 1e8
    assert scaling.step_seconds(9.0, **large) == pytest.approx(9.0 + sending / 10)  # all but the last are hidden
    assert scaling.step_seconds(0.3, **large) == pytest.approx(0.1 + sending)  # the network is the limit
    assert scaling.step_seconds(9.0, **large, overlap=0) == pytest.approx(9.0 + sending)


def test_latency_and_rate_are_found_again() -> None:
    seconds = [scaling.all_reduce_seconds(size, 4, 2e-4, 3e8) for size in scaling.SIZES]
    assert scaling.fitted(scaling.SIZES, seconds, 4) == pytest.approx((2e-4, 3e8))


def test_every_form_is_timed() -> None:
    tiny = {"tiny": {"name": "scn", "blocks": 1, "units": 4, "width": 2, "scales": 2}}
    transfers, steps = scaling.measured(2, 1, tiny)
    assert [row["bytes"] for row in transfers] == list(scaling.SIZES)
    assert {row["form"] for row in steps} == {"alone", "buckets", "after", "lanes", "DDP"}
