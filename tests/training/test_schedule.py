import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fornet_keras.config import Config
from fornet_keras.errors import ConfigError

pytestmark = pytest.mark.backend


def rates(steps: list[int], **options: float) -> list[float]:
    import keras

    from fornet_keras.training.schedule import WarmupPolynomialDecay

    schedule = WarmupPolynomialDecay(**options)
    values = [float(keras.ops.convert_to_numpy(schedule(step))) for step in steps]
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert again.get_config() == schedule.get_config()
    assert [float(keras.ops.convert_to_numpy(again(step))) for step in steps] == values
    return values


def test_rises_in_equal_steps_then_falls_to_zero() -> None:
    """Four steps of warm-up: fifths of 0.1; then a straight line over the other 36 steps."""
    found = rates(
        [0, 1, 2, 3, 4, 22, 39, 40, 41], learning_rate=0.1, total_steps=40, warmup_steps=4, power=1.0
    )
    expected = [0.02, 0.04, 0.06, 0.08, 0.1, 0.1 * 18 / 36, 0.1 * 1 / 36, 0, 0]
    assert found == pytest.approx(expected, abs=1e-8)


def test_power_bends_the_decay() -> None:
    found = rates([0, 5, 9], learning_rate=1.0, total_steps=10, power=2.0)
    assert found == pytest.approx([1.0, 0.5**2, 0.1**2])


def test_a_warm_up_takes_at_most_a_tenth_of_the_run() -> None:
    found = rates([0, 1, 2, 11, 20], learning_rate=0.3, total_steps=20, warmup_steps=200, power=1.0)
    assert found == pytest.approx([0.1, 0.2, 0.3, 0.15, 0])


def test_a_run_of_one_step_learns() -> None:
    assert rates([0], learning_rate=0.3, total_steps=1, warmup_steps=200) == pytest.approx([0.3])


def test_settings_of_a_longer_run_are_said(make_config: Callable[..., Config]) -> None:
    from fornet_keras.training.schedule import schedule_notes

    training, model = {"epochs": 2, "accumulate": 100}, {"weights": "fornet_s_camvid"}
    assert [*schedule_notes(make_config(training=training, model=model | {"freeze_epochs": 1}), 100)] == []
    weights, backbone = schedule_notes(make_config(training=training, model=model | {"freeze_epochs": 2}), 90)
    assert "stay for model.freeze_epochs=2 epochs, and the run has 2: they never change" in backbone
    assert "change after training.accumulate=100 steps, and the run has 90: they never change" in weights


def test_a_patience_that_cannot_end_the_run_is_said(make_config: Callable[..., Config]) -> None:
    from fornet_keras.training.schedule import schedule_notes

    training = {"epochs": 10, "validate_every": 3, "ema_momentum": None}  # four validations
    assert [*schedule_notes(make_config(training=training | {"patience": 3}), 100)] == []
    (note,) = schedule_notes(make_config(training=training | {"patience": 4}), 100)
    assert "training.patience=4 validations, and the run has 4: it never ends early" in note


@pytest.mark.parametrize("frozen", [{"freeze_backbone": True}, {"freeze_epochs": 1}])
def test_a_backbone_that_keeps_random_weights_is_said(
    frozen: dict[str, Any], make_config: Callable[..., Config]
) -> None:
    from fornet_keras.training.schedule import schedule_notes

    training = {"epochs": 2}
    for given in ({"weights": "fornet_s_camvid"}, {"backbone": "efficientnet_lite0"}):
        assert [*schedule_notes(make_config(training=training, model=frozen | given), 100)] == []
    (note,) = schedule_notes(make_config(training=training, model=frozen), 100)
    assert f"note: model.{next(iter(frozen))} keeps random weights; set model.weights or model.back" in note


def test_names_of_classes_without_weights_are_said(make_config: Callable[..., Config]) -> None:
    from fornet_keras.training.schedule import schedule_notes

    given = {"known_as": {"person": "pedestrian"}}
    of_weights = make_config(training={"epochs": 2}, model=given | {"weights": "fornet_s_camvid"})
    assert [*schedule_notes(of_weights, 100)] == []
    (note,) = schedule_notes(make_config(training={"epochs": 2}, model=given), 100)
    assert note.startswith("note: model.known_as is of model.weights, and there are none")


@pytest.mark.parametrize(
    ("momentum", "accumulate", "noted"),
    [
        (
            0.995,
            1,
            "58% of it those of the first step: .* 110 steps; set training.ema_momentum=0.973 or null",
        ),
        (0.97, 1, None),
        (0.97, 2, "19% of it .*=0.946 or null, or more training.epochs"),
        (None, 1, None),
    ],
)
def test_an_average_over_more_steps_than_the_run_has_is_said(
    momentum: float | None, accumulate: int, noted: str | None, make_config: Callable[..., Config]
) -> None:
    """Of CamVid in five epochs; the momentum that is named instead leaves nothing to say."""
    from fornet_keras.training.schedule import schedule_notes

    def notes(momentum: float | None) -> list[str]:
        training = {"ema_momentum": momentum, "accumulate": accumulate}
        return [*schedule_notes(make_config(training=training), 110)]

    assert len(notes(momentum)) == (noted is not None)
    for note in notes(momentum):
        assert re.search(noted or "", note)
        (named,) = re.findall(r"training.ema_momentum=(\S+) or null", note)
        assert notes(float(named)) == []


@pytest.mark.parametrize("limit", ["max_epochs", "max_steps_per_epoch"])
def test_limits_of_keras_are_refused(
    limit: str,
    train: Callable[..., Any],
    make_config: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With fewer epochs than the run has, `fit` would be called again and again and do nothing."""
    from fornet_keras.training.dry_run import dry_run

    monkeypatch.setattr(f"keras.config.{limit}", lambda: 1)
    message = f"KERAS_{limit.upper()} is 1, .*; unset it, and set fewer training.epochs"
    with pytest.raises(ConfigError, match=message):
        train(make_config(), tmp_path / "run")
    with pytest.raises(ConfigError, match=message):
        dry_run(make_config(), Console(quiet=True))
    assert not (tmp_path / "run").exists()
