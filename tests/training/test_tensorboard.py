import resource
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

from fornet_keras.training.tensorboard import EventLog


def test_tensorboard_reads_back_what_was_written(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    log = EventLog(tmp_path / "events")
    for step, value in ((1, 0.5), (2, 0.25)):
        log.scalar("loss", value, step)
    log.picture("val/0", picture, 2)
    log.close()
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 0.5), (2, 0.25)]
    (image,) = events.Images("val/0")
    assert (image.step, image.height, image.width) == (2, 8, 12)
    decoded = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(decoded, picture)


def test_tensorboard_knows_what_a_run_was_told(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    assert not [*tmp_path.iterdir()]
    told = {
        "model.preset": "s",
        "training.epochs": 8,
        "model.freeze_backbone": True,
        "augment.crop": (64, 96),
    }
    log.settings({**told, "loss.ohem": None})
    log.forget_from(1)
    log.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    (content,) = events.PluginTagToContent("hparams").values()
    read = parse_session_start_info_plugin_data(content)
    assert read.group_name == str(tmp_path), "runs of the same settings stay apart"
    found = {name: getattr(value, value.WhichOneof("kind")) for name, value in read.hparams.items()}
    assert found == {**told, "augment.crop": "(64, 96)"}


def test_flushed_events_are_readable_while_the_run_goes_on(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.scalar("loss", 1.0, 1)
    log.flush()
    assert EventAccumulator(str(tmp_path)).Reload().Scalars("loss")[0].value == 1.0
    log.close()


def test_a_disk_that_takes_no_more_is_the_systems_error(tmp_path: Path) -> None:
    """On every backend, so that a run can say how it goes on."""
    log = EventLog(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            log.picture("val/0", picture, 1)
            log.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    log.close()
