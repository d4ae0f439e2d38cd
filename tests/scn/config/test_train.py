"""The schedule of learning rate and loss."""

import math

import pytest
from pydantic import ValidationError

from scn.config.train import LossConfig, TrainConfig

IMAGES = 800
EPOCH = IMAGES * 1000 // 16


def rates(config: TrainConfig, steps: list[int]) -> list[float]:
    return [config.learning_rate_at(step, IMAGES) for step in steps]


def test_by_default_it_is_the_scn_papers() -> None:
    """1e-3, halved every 3 epochs after the 25th, 40 epochs (section 4.1)."""
    config = TrainConfig()
    by_epoch = rates(config, [epoch * EPOCH for epoch in range(40)])
    assert by_epoch[:28] == [1e-3] * 28
    assert by_epoch[28:] == [5e-4] * 3 + [2.5e-4] * 3 + [1.25e-4] * 3 + [6.25e-5] * 3
    assert config.steps(IMAGES) == 40 * EPOCH


def test_it_can_be_halved_by_steps() -> None:
    """2e-4, halved every 2.5e5 of 1e6 iterations (MS-Conv paper)."""
    config = TrainConfig(learning_rate=2e-4, halve_every_steps=250_000, max_steps=1_000_000)
    assert rates(config, [0, 249_999, 250_000, 999_999]) == [2e-4, 2e-4, 1e-4, 2.5e-5]
    assert config.steps(IMAGES) == 1_000_000


def test_it_can_fall_as_a_cosine_after_warm_up_and_hold() -> None:
    config = TrainConfig(learning_rate=1e-3, schedule="cosine", warmup_steps=100, hold_epochs=10, epochs=30)
    assert rates(config, [0, 49, 99]) == pytest.approx([1e-5, 5e-4, 1e-3])
    assert rates(config, [10 * EPOCH, 20 * EPOCH, 30 * EPOCH]) == pytest.approx([1e-3, 5e-4, 0])
    quarter = (1 + math.cos(math.pi / 4)) / 2 * 1e-3
    assert rates(config, [15 * EPOCH]) == pytest.approx([quarter])
    falling = rates(config, list(range(10 * EPOCH, 30 * EPOCH, EPOCH // 3)))
    assert falling == sorted(falling, reverse=True)


def test_it_can_stay() -> None:
    assert rates(TrainConfig(schedule="constant"), [0, 39 * EPOCH]) == [1e-3, 1e-3]


def test_the_loss_changes_when_the_held_epochs_are_done() -> None:
    late = LossConfig(l1=1, smooth_l1=0.5)
    config = TrainConfig(late_loss=late, hold_epochs=10)
    assert config.loss_at(10 * EPOCH - 1, IMAGES) == LossConfig(l1=1)
    assert config.loss_at(10 * EPOCH, IMAGES) == late
    assert TrainConfig(hold_epochs=10).loss_at(39 * EPOCH, IMAGES) == LossConfig(l1=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 16, "hold_epochs": 80}, "hold_epochs: 80 of 16 epochs: the learning rate would never fall"),
        ({"epochs": 9, "hold_epochs": 9, "late_loss": {"mse": 1.0}}, "9 of 9 epochs: the late loss would never come"),
        ({"max_steps": 100, "warmup_steps": 100}, r"100 of 100 steps \(max_steps\): the warm-up would not end"),
        ({"take_best_on": ["a"]}, "has no effect without take_best_every; set that too"),
        ({"loss": {"l1": 0.0}}, "no term has a weight"),
    ],
)
def test_what_can_not_be_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainConfig.model_validate(settings)


def test_a_warm_up_that_would_not_end_is_told_when_the_images_are_known() -> None:
    config = TrainConfig(warmup_steps=1000, patches_per_image=1, batch_size=1)
    config.check(26)
    with pytest.raises(ValueError, match="warmup_steps: 1000 of 1000 steps on 25 images: the warm-up would not end"):
        config.check(25)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({}, ""),
        ({"max_steps": 28 * EPOCH}, "the learning rate never falls"),
        ({"max_steps": 28 * EPOCH + 1}, ""),
        ({"hold_epochs": 38}, "the learning rate never falls"),
        ({"schedule": "cosine", "hold_epochs": 40}, "the learning rate never falls"),
        ({"schedule": "cosine", "max_steps": 25 * EPOCH}, "the learning rate never falls"),
        ({"halve_every_steps": 10**9}, "the learning rate never falls"),
        ({"schedule": "constant"}, ""),
        ({"schedule": "constant", "late_loss": {"mse": 1.0}, "max_steps": 25 * EPOCH}, "late_loss never comes"),
    ],
)
def test_what_a_run_ends_before_is_known_when_the_images_are(settings: dict[str, object], what: str) -> None:
    assert TrainConfig.model_validate(settings).cut_short(IMAGES) == what


@pytest.mark.parametrize(
    ("key", "number", "message"),
    [
        ("seed", 2**63, "less than 9223372036854775808"),
        ("group_mib", math.inf, "finite number"),
        ("learning_rate", math.nan, "finite number"),
    ],
)
def test_numbers_that_nothing_can_compute_with_are_refused(key: str, number: float, message: str) -> None:
    with pytest.raises(ValidationError, match=rf"\n{key}\n  Input should be (a )?{message}"):
        TrainConfig.model_validate({key: number})
