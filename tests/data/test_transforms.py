from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fornet_keras.config import AugmentConfig
from fornet_keras.data.dataset import IGNORE
from fornet_keras.data.sizes import PAD_COLOR
from fornet_keras.data.transforms import (
    augment,
    color_matrix,
    gamma_table,
    letterbox_half,
    random_generator,
)

STILL = {"scale": (1, 1), "flip": 0, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}


def options(crop: tuple[int, int] = (64, 96), **changes: Any) -> AugmentConfig:
    """An augmentation that changes nothing, but for `changes`."""
    return AugmentConfig(crop=crop, **{**STILL, **changes})


def noise(height: int, width: int, values: int = 256) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    image = random.integers(0, 256, (height, width, 3), np.uint8)
    return image, random.integers(0, values, (height, width), np.uint8)


def positions(height: int, width: int) -> np.ndarray:
    """An image whose red is the column and whose green is the row, so that every pixel knows its place."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)


# === A pure function of (seed, epoch, index) ===

ALL = AugmentConfig(crop=(64, 96))  # everything is random


def augmented(seed: int, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    return augment(*noise(90, 120), ALL, random_generator(seed, epoch, index))


def test_the_same_seed_epoch_and_index_give_the_same_sample() -> None:
    first = augmented(3, 1, 4)
    augmented(3, 1, 5)  # what else is drawn in between does not matter
    for again, array in zip(augmented(3, 1, 4), first, strict=True):
        np.testing.assert_array_equal(again, array)
    assert first[0].shape == (64, 96, 3) and first[1].shape == (64, 96)
    assert first[0].dtype == first[1].dtype == np.uint8


@pytest.mark.parametrize("other", [(4, 1, 4), (3, 2, 4), (3, 1, 5)])
def test_another_seed_epoch_or_index_gives_another_sample(other: tuple[int, int, int]) -> None:
    assert (augmented(*other)[0] != augmented(3, 1, 4)[0]).mean() > 0.5


def test_options_do_not_shift_the_numbers_drawn() -> None:
    following = []
    for drawn in (ALL, options(), options(flip=1, hue=0.5), options(gamma=1)):
        random = random_generator(0, 0, 0)
        augment(*noise(64, 96), drawn, random)
        following.append(random.random())
    assert len(set(following)) == 1


def test_what_goes_in_stays_as_it_is() -> None:
    image, label = noise(90, 120)
    copies = image.copy(), label.copy()
    augment(image, label, ALL, random_generator(0, 0, 0))
    np.testing.assert_array_equal(image, copies[0])
    np.testing.assert_array_equal(label, copies[1])


# === Geometry ===


def test_nothing_to_do_is_exact() -> None:
    image, label = noise(64, 96)
    same_image, same_label = augment(image, label, options(), random_generator(0, 0, 0))
    np.testing.assert_array_equal(same_image, image)
    np.testing.assert_array_equal(same_label, label)


def test_a_flip_is_an_exact_mirror() -> None:
    image, label = noise(64, 96)
    mirrored, mirrored_label = augment(image, label, options(flip=1), random_generator(0, 0, 0))
    np.testing.assert_array_equal(mirrored, image[:, ::-1])
    np.testing.assert_array_equal(mirrored_label, label[:, ::-1])


def test_the_probability_of_a_flip_is_kept() -> None:
    image = positions(64, 96)
    flips = 0
    for index in range(200):
        out, _ = augment(image, image[..., 0], options(flip=0.25), random_generator(0, 0, index))
        flips += int(out[0, 0, 0] > out[0, -1, 0])
    assert 32 <= flips <= 68  # 50 expected, three standard deviations of 6


def test_labels_only_hold_values_that_they_held() -> None:
    image, _ = noise(90, 120)
    label = np.random.default_rng(0).choice(np.array([2, 9, 17], np.uint8), (90, 120))
    for index in range(40):
        _, out = augment(image, label, ALL, random_generator(0, 0, index))
        assert set(np.unique(out)) <= {2, 9, 17, IGNORE}


@pytest.mark.parametrize("scale", [0.5, 1, 1.37, 2])
@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("axis", [0, 1])
def test_image_and_label_are_resampled_at_the_same_places(scale: float, flip: int, axis: int) -> None:
    """Both hold the position: the image's is interpolated, the label's is the nearest pixel's."""
    image = positions(160, 240)
    label = image[..., axis].copy()
    drawn = options(scale=(scale, scale), flip=flip)
    for index in range(5):
        out, out_label = augment(image, label, drawn, random_generator(0, 0, index))
        difference = out[..., axis].astype(int) - out_label
        assert np.abs(difference).max() <= 1
        # Corners of pixels taken for their centres would show as half a pixel times 1 - 1 / scale.
        assert abs(difference.mean()) < 0.1


@pytest.mark.parametrize("scale", [0.5, 1, 2])
@pytest.mark.parametrize("flip", [0, 1])
def test_a_crop_is_a_straight_cut_at_its_scale(scale: float, flip: int) -> None:
    out, _ = augment(
        positions(160, 240),
        np.zeros((160, 240), np.uint8),
        options(scale=(scale, scale), flip=flip),
        random_generator(0, 0, 1),
    )
    columns, rows = out[..., 0].astype(int), out[..., 1].astype(int)
    assert (columns == columns[:1]).all() and (rows == rows[:, :1]).all()
    step = -1 if flip else 1
    np.testing.assert_allclose(columns[0, -1] - columns[0, 0], step * 95 / scale, atol=1)
    np.testing.assert_allclose(rows[-1, 0] - rows[0, 0], 63 / scale, atol=1)


def test_scales_are_spread_over_their_range_as_ratios() -> None:
    """Twice as large is as frequent as half as large: the median of 0.5…2 is 1."""
    image, scales = positions(160, 240), []
    for index in range(200):
        out, _ = augment(image, image[..., 0], options(scale=(0.5, 2)), random_generator(0, 0, index))
        scales.append(95 / np.ptp(out[32, :, 0].astype(int)))
    assert 0.49 < min(scales) < 0.55 and 1.8 < max(scales) < 2.05
    assert 0.85 < np.median(scales) < 1.15


@pytest.mark.parametrize("scale", [0.5, 2])
def test_pixel_centres_lie_at_half_coordinates(scale: float) -> None:
    """Where the scaled image fills the crop, the middle of the one is the middle of the other."""
    height, width = int(64 / scale), int(96 / scale)
    image, label = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    image[:, width // 2 :], label[:, width // 2 :] = 200, 1
    out, out_label = augment(image, label, options(scale=(scale, scale)), random_generator(0, 0, 0))
    np.testing.assert_array_equal(out_label, np.broadcast_to(np.arange(96) >= 48, (64, 96)))
    # What interpolation takes from the one side it gives to the other.
    inner = out[1:-1, 1:-1, 0].astype(int)
    np.testing.assert_array_equal(inner + inner[:, ::-1], 200)


def test_colours_follow_their_classes_but_for_a_pixel_at_the_borders() -> None:
    blocks = np.random.default_rng(1).integers(0, 11, (10, 15)).astype(np.uint8)
    label = np.kron(blocks, np.ones((16, 16), np.uint8))
    colors = np.random.default_rng(2).integers(0, 256, (256, 3), np.uint8)
    for index, scale in enumerate((0.5, 1.0, 2.0)):
        drawn = options(scale=(scale, scale), flip=0.5)
        image, out = augment(colors[label], label, drawn, random_generator(0, 0, index))
        right = (image == colors[out]).all(axis=-1)
        border = np.zeros_like(right)
        for axis in (0, 1):
            change = np.diff(out.astype(int), axis=axis) != 0
            for side in (slice(None, -1), slice(1, None)):
                at = (side, slice(None)) if axis == 0 else (slice(None), side)
                border[at] |= change
        assert right[~border].mean() > 0.99 and right.mean() > 0.7


# === Outside the image ===


def test_outside_the_image_is_grey_and_ignored() -> None:
    image, label = np.full((40, 50, 3), 10, np.uint8), np.full((40, 50), 3, np.uint8)
    corners = set()
    for index in range(10):
        out, out_label = augment(image, label, options((64, 96)), random_generator(0, 0, index))
        rows, columns = np.nonzero(out_label == 3)
        top, left, height, width = rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1
        # The whole image is there, once, in one piece: here or there by a fraction of a pixel.
        assert len(rows) == height * width and abs(height - 40) <= 1 and abs(width - 50) <= 1
        corners.add((int(top), int(left)))
        # Interpolation reaches one pixel to each side.
        outside = np.ones((64, 96), bool)
        outside[max(0, top - 1) : top + height + 1, max(0, left - 1) : left + width + 1] = False
        assert (out_label[outside] == IGNORE).all() and (out[outside] == PAD_COLOR).all()
        assert (out[top + 1 : top + height - 1, left + 1 : left + width - 1] == 10).all()
    assert len(corners) > 5, "the image is not always at the same place"


def test_a_small_scale_makes_the_image_smaller_than_the_crop() -> None:
    image, label = noise(64, 96, values=11)
    _, out = augment(image, label, options(scale=(0.5, 0.5)), random_generator(0, 0, 0))
    assert abs((out != IGNORE).sum() - 32 * 48) <= 32 + 48
    assert set(np.unique(out)) <= set(range(11)) | {IGNORE}


def test_a_crop_smaller_than_the_image_holds_nothing_from_outside() -> None:
    image, label = noise(160, 240, values=11)
    for index in range(20):
        _, out = augment(image, label, options(scale=(0.5, 2)), random_generator(0, 0, index))
        assert IGNORE not in out


def test_half_of_the_images_are_letterboxed() -> None:
    """By two bars of one width, across or along, which leave at least 40 % of the image as it was."""
    image, label = noise(40, 60, values=19)
    shown = {0: [], 1: []}
    for index in range(200):
        found, found_label = letterbox_half(image, label, random_generator(0, 0, index))
        outside = (found == PAD_COLOR).all(-1)
        np.testing.assert_array_equal(found[~outside], image[~outside])
        np.testing.assert_array_equal(found_label, np.where(outside, IGNORE, label))
        if outside.any():
            axis = 0 if outside[:, 30].any() else 1
            lines = outside.all(1 - axis)
            np.testing.assert_array_equal(lines, lines[::-1])
            shown[axis].append(1 - lines.mean())
    assert 70 < len(shown[0]) + len(shown[1]) < 130 and min(map(len, shown.values())) > 25
    assert all(0.4 <= min(shares) < 0.45 and max(shares) > 0.9 for shares in shown.values())


# === Colour ===


def drawn(*choices: float) -> Any:
    """A generator of known choices: of brightness, contrast, saturation and hue."""
    return SimpleNamespace(uniform=lambda low, high, size: np.array(choices))


def test_no_colour_options_change_no_colour() -> None:
    np.testing.assert_allclose(color_matrix(options(), random_generator(0, 0, 0)), np.eye(3, 4), atol=1e-12)


@pytest.mark.parametrize("changes", [{"saturation": 0.9}, {"hue": 0.5}, {"saturation": 0.5, "hue": 0.1}])
def test_greys_keep_their_value_under_saturation_and_hue(changes: dict[str, float]) -> None:
    for index in range(10):
        matrix = color_matrix(options(**changes), random_generator(0, 0, index))
        for grey in (0, 100, 255):
            np.testing.assert_allclose(matrix @ [grey, grey, grey, 1], grey, atol=1e-9)
        assert not np.allclose(matrix @ [200, 50, 50, 1], [200, 50, 50])


def test_brightness_multiplies() -> None:
    for index in range(10):
        matrix = color_matrix(options(brightness=0.3), random_generator(0, 0, index))
        factor = matrix[0, 0]
        assert 0.7 <= factor <= 1.3
        np.testing.assert_allclose(matrix, factor * np.eye(3, 4), atol=1e-12)


def test_contrast_turns_around_the_middle() -> None:
    for index in range(10):
        matrix = color_matrix(options(contrast=0.3), random_generator(0, 0, index))
        factor = matrix[0, 0]
        assert 0.7 <= factor <= 1.3
        np.testing.assert_allclose(matrix @ [127.5, 127.5, 127.5, 1], 127.5)
        np.testing.assert_allclose(
            matrix @ [227.5, 127.5, 27.5, 1], 127.5 + factor * np.array([100, 0, -100])
        )


def test_brightness_multiplies_what_contrast_has_turned() -> None:
    matrix = color_matrix(options(brightness=0.5, contrast=0.4), drawn(0.5, -0.5, 0, 0))
    turned = 127.5 + 0.8 * np.array([100, 0, -100])
    np.testing.assert_allclose(matrix @ [227.5, 127.5, 27.5, 1], 1.25 * turned)


def test_saturation_stretches_what_is_not_grey() -> None:
    for index in range(10):
        matrix = color_matrix(options(saturation=0.3), random_generator(0, 0, index))
        found = matrix @ [200, 100, 0, 1]
        factor = (found[0] - 100) / 100
        assert 0.7 <= factor <= 1.3 and abs(factor - 1) > 1e-3
        np.testing.assert_allclose(found, 100 + factor * np.array([100, 0, -100]))


def test_a_third_of_a_circle_turns_red_into_green_or_blue() -> None:
    """cos 120° = -1/2 in the circulant matrix: the primaries change places, exactly."""
    matrix = color_matrix(options(hue=0.5), drawn(0, 0, 0, 2 / 3))  # of hue 0.5: a third of a circle
    np.testing.assert_allclose(matrix @ [255, 0, 0, 1], [0, 255, 0], atol=1e-9)


def test_colours_are_cut_off_at_0_and_255() -> None:
    image = np.full((64, 96, 3), (250, 128, 3), np.uint8)
    drawn = options(brightness=0.9, contrast=0.9)
    label = np.zeros((64, 96), np.uint8)
    for index in range(10):
        random = random_generator(0, 0, index)
        expected = color_matrix(drawn, _skip_geometry(random)) @ [250, 128, 3, 1]
        out, _ = augment(image, label, drawn, random_generator(0, 0, index))
        np.testing.assert_allclose(out[0, 0], np.clip(expected, 0, 255), atol=1)


def test_gamma_is_an_exponent_spread_evenly_around_1_as_a_logarithm() -> None:
    np.testing.assert_array_equal(gamma_table(options(), random_generator(0, 0, 0)), np.arange(256))
    logarithms = []
    for index in range(200):
        table = gamma_table(options(gamma=0.4), random_generator(0, 0, index)).astype(float)
        assert (table[0], table[255]) == (0, 255) and (np.diff(table) >= 0).all()
        exponent = np.log(table[128] / 255) / np.log(128 / 255)
        np.testing.assert_allclose(table, 255 * (np.arange(256) / 255) ** exponent, atol=1.5)
        logarithms.append(np.log(exponent))
    assert -0.41 < min(logarithms) < -0.36 and 0.36 < max(logarithms) < 0.41
    assert abs(np.mean(logarithms)) < 0.05


def test_gamma_changes_an_image_by_one_table_and_nothing_else() -> None:
    image, label = noise(64, 96)
    drawn = options(gamma=1)
    out, same_label = augment(image, label, drawn, random_generator(0, 0, 3))
    random = _skip_geometry(random_generator(0, 0, 3))
    color_matrix(drawn, random)
    np.testing.assert_array_equal(out, gamma_table(drawn, random)[image])
    np.testing.assert_array_equal(same_label, label)
    assert (out != image).mean() > 0.5


def test_gamma_moves_no_other_choice() -> None:
    image = np.full((90, 120, 3), 255, np.uint8)  # which a power does not change
    changed = AugmentConfig(crop=(64, 96), scale=(1, 1), gamma=1)
    same = changed.model_copy(update={"gamma": 0.0})
    outs = [augment(image, image[..., 0], drawn, random_generator(0, 0, 4))[0] for drawn in (changed, same)]
    np.testing.assert_array_equal(*outs)
    assert (outs[0] != 255).any()


def _skip_geometry(random: np.random.Generator) -> np.random.Generator:
    random.random(4)  # scale, top, left, flip
    return random
