from pathlib import Path
from typing import Any

import pytest

from fornet_keras.config import AugmentConfig
from fornet_keras.data.sources import open_dataset
from fornet_keras.errors import TrainingError


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
@pytest.mark.parametrize("done", [0, 1], ids=["whole epoch", "rest of an epoch"])
def test_a_loss_that_is_no_number_ends_the_run_and_names_the_images(
    done: int, loss: float, camvid: Path
) -> None:
    from fornet_keras.data.pipeline import TrainingBatches
    from fornet_keras.training.finite import StopOnNaN

    dataset = open_dataset("camvid", camvid, "train")
    batches = TrainingBatches(dataset, AugmentConfig(crop=(64, 96)), batch_size=2, seed=0)
    stop: Any = StopOnNaN(batches)
    stop.params = {"steps": 3 - done}
    stop.on_epoch_begin(1)
    stop.on_train_batch_end(0, {"loss": 0.5})
    images = ", ".join(dataset.samples[index].image.name for index in batches.indices(1, 2))
    with pytest.raises(TrainingError, match=rf"the loss became {loss} in epoch 2, step 3; ") as e:
        stop.on_train_batch_end(2 - done, {"loss": loss})
    assert str(e.value).endswith(f"the images of that step: {images}")


def test_a_process_names_its_own_images(camvid: Path) -> None:
    from fornet_keras.data.pipeline import TrainingBatches
    from fornet_keras.training.finite import StopOnNaN

    dataset = open_dataset("camvid", camvid, "train")
    stop: Any = StopOnNaN(TrainingBatches(dataset, AugmentConfig(crop=(64, 96)), 2, seed=0, part=(1, 2)))
    stop.params = {"steps": 3}
    stop.on_epoch_begin(0)
    with pytest.raises(TrainingError, match=r"the images of that step in this process: \d\.png$"):
        stop.on_train_batch_end(0, {"loss": float("nan")})
