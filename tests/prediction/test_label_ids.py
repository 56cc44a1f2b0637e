import keras
import numpy as np
import pytest

from fornet_keras.layers.resize import UpsampleToImage
from fornet_keras.prediction.enlarge import enlarged_label_ids
from fornet_keras.prediction.label_ids import LabelIds, UpsampledLabelIds
from tests.check_layer import random, run

pytestmark = pytest.mark.backend


def test_label_ids_are_those_of_the_highest_logits() -> None:
    logits = random(2, 5, 7, 4)
    (labels,) = run(LabelIds(), [logits])
    np.testing.assert_array_equal(labels, logits.argmax(-1))
    assert labels.dtype == "int32"


def test_a_mixed_policy_does_not_round_the_logits() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    (labels,) = run(LabelIds(), [np.array([[[[1.0, 1.0001]]]], "float32")])
    assert labels.tolist() == [[[1]]]


@pytest.mark.parametrize("scale", [1, 2, 4, 5])
@pytest.mark.parametrize("spread", [1, 4, 100], ids=["noise", "areas", "one class"])
def test_of_upsampled_logits(scale: int, spread: int) -> None:
    logits, image = random(2, 6, 8, 3), random(2, 6 * scale - 1, 8 * scale, 3)
    logits = logits[:, np.arange(6) // spread][:, :, np.arange(8) // spread]
    (whole,) = run(UpsampleToImage(scale), [logits, image])
    (labels,) = run(UpsampledLabelIds(scale), [logits, image])
    assert labels.shape == whole.shape[:-1] and labels.dtype == "uint8"
    assert (labels == whole.argmax(-1)).mean() > 0.999


def test_round_trip() -> None:
    twin = keras.layers.deserialize(keras.layers.serialize(UpsampledLabelIds(4, name="ids")))
    assert (twin.scale, twin.name) == (4, "ids")


def test_a_logit_that_is_no_number_spoils_its_neighbours_alone() -> None:
    logits = np.zeros((12, 20, 3), np.float32)
    logits[..., 1] = 1
    logits[3, 4] = np.nan
    label_ids = enlarged_label_ids(logits, 4, (48, 80), (96, 160))
    label_ids[16:40, 24:48] = 1
    assert (label_ids == 1).all()
