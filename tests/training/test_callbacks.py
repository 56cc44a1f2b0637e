from typing import Any

import pytest

from fornet_keras.errors import TrainingError


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run(loss: float) -> None:
    from fornet_keras.training.callbacks import StopOnNaN

    stop: Any = StopOnNaN()
    stop.on_epoch_begin(1)
    stop.on_train_batch_end(0, {"loss": 0.5})
    with pytest.raises(TrainingError, match=rf"the loss became {loss} in epoch 2, step 4; .*lower training"):
        stop.on_train_batch_end(3, {"loss": loss})
