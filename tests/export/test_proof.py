"""What an exported model finds is compared with what Keras does; here nothing is exported."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fornet_keras.errors import ExportError

CLASSES = 9


def outputs(labels: np.ndarray, kept: np.ndarray | None = None, sure: float = 5) -> dict[str, np.ndarray]:
    """Every output of images in which these labels are found."""
    rows, columns = (-(-length // 16) for length in labels.shape[1:])
    kept = np.ones((len(labels), rows, columns), np.uint8) if kept is None else kept
    logits = np.float32(sure) * np.eye(CLASSES, dtype=np.float32)[labels]
    return {"label_ids": labels, "logits": logits, "importance": kept * np.float32(0.5), "kept": kept}


def artifact_of(found: dict[str, np.ndarray]) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """A runtime that finds this in the images of `keras_of`, whatever the batch."""
    return lambda images: {name: value[images[:, 0, 0, 0]] for name, value in found.items()}


def keras_of(
    at_top_k: dict[str, np.ndarray],
    at_1: np.ndarray | None = None,
    coarse: np.ndarray | None = None,
    window: Any = None,
    region_size: int = 16,
) -> Any:
    """What Keras finds in images that show nothing but their number."""
    from fornet_keras.export.reference import ProofImages

    labels = at_top_k["label_ids"]
    count, height, width = labels.shape
    images = [np.full((1, 1, 3), number, np.uint8) for number in range(count)]
    window = window or (slice(0, height), slice(0, width))
    return SimpleNamespace(
        images=ProofImages("some", images, [window] * count),
        region_size=region_size,
        at_top_k=[{name: value[number] for name, value in at_top_k.items()} for number in range(count)],
        at_1=[{"label_ids": x} for x in (labels if at_1 is None else at_1)],
        coarse=[{"label_ids": x} for x in (labels if coarse is None else coarse)],
        miou=lambda found: None,
    )


@pytest.mark.parametrize("lost", ["", "selection", "branch"])
def test_what_is_lost_is_found_among_the_mistakes_of_eight_bits(lost: str) -> None:
    """Four in a thousand pixels tell it apart, and ten are wrong for another reason."""
    from fornet_keras.export.proof import prove

    rng = np.random.default_rng(0)
    at_top_k = rng.integers(0, 2, (2, 200, 200), np.uint8)
    at_1, coarse = (np.where(rng.random(at_top_k.shape) < 0.004, 1 - at_top_k, at_top_k) for _ in range(2))
    truth = {"selection": at_1, "branch": coarse, "": at_top_k}[lost]
    found = artifact_of(outputs(np.where(rng.random(truth.shape) < 0.01, 1 - truth, truth)))
    reference = keras_of(outputs(at_top_k), at_1, coarse)
    if lost:
        message = f"lost its {lost}; nothing is written; train longer, or export in a higher precision"
        with pytest.raises(ExportError, match=message):
            prove(found, reference, (1, 2), "int8")
    else:
        proof = prove(found, reference, (1, 2), "int8")
        assert proof.keras_at_1 == (at_top_k == at_1).mean()
        assert proof.keras_coarse == (at_top_k == coarse).mean()
        assert proof.exported_coarse is not None and proof.exported_at_1 is not None


@pytest.mark.parametrize(("share", "refused"), [(0.65, False), (0.9, True)])
def test_what_rounding_decides_is_not_lost(share: float, refused: bool) -> None:
    """Of 400 pixels that tell an artifact from one that refines every region, most are as that has them."""
    from fornet_keras.export.proof import prove

    at_top_k, at_1 = np.zeros((2, 1, 200, 200), np.uint8)
    at_1[0, :2] = 1
    found = at_top_k.copy()
    found[0, :2, : int(share * 200)] = 1
    prepared = artifact_of(outputs(found)), keras_of(outputs(at_top_k), at_1), (1,), "int8"
    if refused:
        with pytest.raises(ExportError, match="it has lost its selection"):
            prove(*prepared)
    else:
        assert prove(*prepared).exported_at_1 is not None


def test_a_few_pixels_tell_nothing() -> None:
    """All that tell an honest artifact from others lie at one edge, which eight bits have moved."""
    from fornet_keras.export.proof import prove

    at_top_k = np.zeros((1, 200, 200), np.uint8)
    other = at_top_k.copy()
    other[0, 0, :150] = 1
    proof = prove(artifact_of(outputs(other)), keras_of(outputs(at_top_k), other, other), (1,), "int8")
    assert (proof.exported_at_1, proof.exported_coarse) == (None, None)


def test_what_is_around_a_photograph_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the photograph is wrong; it is a third of the image."""
    from fornet_keras.export.proof import prove

    monkeypatch.setattr("fornet_keras.export.proof.FEWEST_REFINED", 4)
    kept = np.ones((1, 2, 6), np.uint8)
    kept[..., 3:] = 0
    at_top_k = outputs(np.zeros((1, 30, 90), np.uint8), kept)
    labels = at_top_k["label_ids"].copy()
    labels[:, :10, 30:60] = 1
    reference = keras_of(at_top_k, window=(slice(0, 30), slice(30, 60)))
    with pytest.raises(ExportError, match="0.66667 of the labels agree with Keras"):
        prove(artifact_of(outputs(labels, kept)), reference, (1,), "int8")
    others = kept.copy()
    # At 16 to 32 and 48 to 64 pixels, of which the photograph has some.
    others[:, 0, 1], others[:, 0, 3] = 0, 1
    with pytest.raises(ExportError, match="0.75 of the refined regions are those of Keras; expected at"):
        prove(artifact_of(outputs(at_top_k["label_ids"], others)), reference, (1,), "float32")
    hard = {"importance": at_top_k["importance"] + np.float32(0.5)}
    hard["importance"][..., [0, 4, 5]] = 0  # where the photograph has nothing
    with pytest.raises(ExportError, match="1.5 of Keras' importance is what its map differs by"):
        prove(artifact_of(at_top_k | hard), reference, (1,), "int8")


@pytest.mark.parametrize("ratio", [0.07, 0.1, 0.25, 1])
def test_a_lost_choice_of_regions_is_found_at_each_ratio(ratio: float) -> None:
    """Half of the regions, or all, are others than Keras'; no label tells."""
    from fornet_keras.export.proof import prove

    rng = np.random.default_rng(0)
    count = int(400 * ratio)
    labels = np.zeros((2, 320, 320), np.uint8)
    kept = np.zeros((2, 20, 20), np.uint8)
    others = kept.copy()
    for mine, theirs in zip(kept.reshape(2, -1), others.reshape(2, -1), strict=True):
        order = rng.permutation(400)
        mine[order[:count]] = 1
        theirs[order[count // 2 :][:count]] = 1
    reference = keras_of(outputs(labels, kept))
    for lost in (others, np.ones_like(kept)) if ratio < 1 else (others,):
        importance = {"importance": outputs(labels, kept)["importance"]}
        for precision in ("float16", "dynamic_int8", "int8"):
            with pytest.raises(ExportError, match=f"^{precision}, .* of the refined regions are those of"):
                prove(artifact_of(outputs(labels, lost) | importance), reference, (1,), precision)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ({"importance": np.float32([[[0.5, np.nan]]])}, "nan of Keras' importance is what its map"),
        ({"importance": np.float32([[[0.1, 0.9]]])}, "0.8 of Keras' importance is what its map"),
        (
            {"logits": np.zeros((1, 16, 32, CLASSES), np.float32)},
            "(5 is the largest|.* of the largest logits)",
        ),
        ({"logits": np.full((1, 16, 32, CLASSES), np.nan, np.float32)}, "nan is the largest difference of a"),
    ],
)
def test_every_output_is_compared(precision: str, lost: dict[str, np.ndarray], message: str) -> None:
    from fornet_keras.export.proof import prove

    right = outputs(np.ones((1, 16, 32), np.uint8), np.ones((1, 1, 2), np.uint8))
    prove(artifact_of(right), keras_of(right), (1,), precision)
    with pytest.raises(ExportError, match=f"^{precision}, batch 1: {message}"):
        prove(artifact_of(right | lost), keras_of(right), (1,), precision)


def test_miou_is_of_each_label_at_its_own_size() -> None:
    """What is found around a photograph does not count, nor do labels lose what is thin."""
    from fornet_keras.export.reference import ProofImages, Reference

    label = np.zeros((8, 8), np.uint8)
    label[3] = 1
    found = np.full((4, 8), 2, np.uint8)
    found[:, 2:6] = 0
    reference = Reference.__new__(Reference)
    reference.num_classes = 3
    reference.images = ProofImages("one", [], [(slice(0, 4), slice(2, 6))], [label])
    assert reference.miou([{"label_ids": found}]) == pytest.approx((56 / 64 + 0) / 2)


def test_a_batch_that_is_mixed_up_is_found_with_one_image() -> None:
    from fornet_keras.export.proof import prove
    from fornet_keras.export.reference import ProofImages

    image = np.random.default_rng(0).integers(0, CLASSES, (8, 8, 3), np.uint8)
    reference = keras_of(outputs(image[None, ..., 0]))
    reference.images = ProofImages("one", [image], reference.images.windows)
    with pytest.raises(ExportError, match=r"^float32, batch 2: 0.\d+ of the labels agree with Keras"):
        prove(lambda images: outputs(images[::-1, ..., 0]), reference, (1, 2), "float32")


@pytest.mark.parametrize(
    ("precision", "found", "message"),
    [
        ("int8", {"miou": 0.5, "miou_keras": 0.7}, "0.2 mIoU is lost; expected at most 0.05"),
        ("float32", {"label_agreement": 0.9}, "0.9 of the labels agree with Keras; expected at least 0.9995"),
        ("float32", {"label_agreement": np.nan}, "nan of the labels agree with Keras; expected at least"),
        ("float16", {"largest_logit_difference": 0.6}, "0.6 is the largest difference of a logit; expected"),
        ("int8", {"refined_agreement": 0.7}, "0.7 of the refined regions are those of Keras; expected at"),
    ],
)
def test_what_is_beyond_the_tolerance_is_refused(
    precision: str, found: dict[str, float], message: str
) -> None:
    from fornet_keras.artifacts.manifest import Check
    from fornet_keras.export.proof import TOLERANCES, _judge

    shares = {"label_agreement": 1, "refined_agreement": 1, "logit_label_agreement": 1}
    shares |= {"refined_regions": 50}
    differences = {"importance_difference": 0, "largest_logit_difference": 0}
    check = Check(batch=2, **shares | differences | found)
    fix = "take another --format, or report" if precision == "float32" else "export in a higher precision"
    with pytest.raises(ExportError, match=f"^{precision}, batch 2: {message}.*; nothing is written; {fix}"):
        _judge(check, TOLERANCES[precision], precision)


def test_of_few_refined_regions_one_decides_nothing() -> None:
    from fornet_keras.artifacts.manifest import Check
    from fornet_keras.export.proof import TOLERANCES, _judge

    shares = {"label_agreement": 1, "refined_agreement": 0.7, "logit_label_agreement": 1}
    differences = {"importance_difference": 0, "largest_logit_difference": 0}
    check = Check(batch=1, refined_regions=49, **shares | differences)
    assert _judge(check, TOLERANCES["int8"], "int8") is None


def test_logits_are_compared_away_from_what_only_one_refines() -> None:
    """Three by three regions of 2×2 pixels, of a lower right corner that the image has not; one differs."""
    from fornet_keras.export.proof import _logit_difference

    agrees = np.ones((3, 3), bool)
    agrees[0, 0] = False
    expected = np.zeros((5, 5, 2), np.float32)
    for row, column in np.ndindex(5, 5):
        found = expected.copy()
        found[row, column, 1] = -0.5
        beside = max(row, column) < 4  # upsampling reaches into the neighbours of the one
        assert _logit_difference(found, expected, agrees, 2) == (0 if beside else 0.5), (row, column)
