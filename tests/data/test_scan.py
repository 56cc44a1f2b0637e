import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fornet_keras.data import scan_sample
from fornet_keras.data.camvid import TABLE
from fornet_keras.data.cityscapes import LABEL_IDS
from fornet_keras.data.cityscapes import TABLE as CITYSCAPES
from fornet_keras.data.dataset import Dataset, LabelTable, Sample
from fornet_keras.data.scan import scan
from fornet_keras.errors import DataError

LABEL = np.array([[0, 0, 3], [3, 3, 11]], np.uint8)  # 2 sky, 3 road, 1 void


def make_dataset(root: Path, labels: list[np.ndarray | None], table: LabelTable = TABLE) -> Dataset:
    """A sample for each label, its image of the label's size; None is a sample without a label."""
    samples = []
    for number, label in enumerate(labels):
        image = root / f"{number}.jpg"
        cv2.imwrite(str(image), np.zeros((*(LABEL if label is None else label).shape[:2], 3), np.uint8))
        if label is not None:
            cv2.imwrite(str(root / f"{number}.png"), label)
        samples.append(Sample(image, None if label is None else root / f"{number}.png"))
    return Dataset("harbour", "train", root, table, tuple(samples))


def lines(dataset: Dataset) -> list[str]:
    return [str(problem) for problem in scan(dataset).problems]


def test_a_clean_data_set_is_counted(tmp_path: Path) -> None:
    report = scan(make_dataset(tmp_path, [LABEL, LABEL, np.full((4, 5), 3, np.uint8)]))
    assert report.summary() == "3 images, 0 missing labels, 0 corrupt"
    report.raise_if_bad()
    assert report.pixels == (4, 0, 0, 26, 0, 0, 0, 0, 0, 0, 0)
    assert report.ignored_pixels == 2
    assert report.images_with_class == (2, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0)
    assert report.sizes == ((2, 3, 2), (4, 5, 1))
    assert (report.name, report.split, report.num_images, report.num_labels) == ("harbour", "train", 3, 3)
    assert report.classes == TABLE.names


def test_two_images_with_one_label(tmp_path: Path) -> None:
    found = make_dataset(tmp_path, [LABEL, LABEL])
    twin = Sample(tmp_path / "0.jpeg", found.samples[0].label)
    cv2.imwrite(str(twin.image), np.zeros((2, 3, 3), np.uint8))
    both = Dataset("harbour", "train", tmp_path, TABLE, (*found.samples, twin, found.samples[1]))
    expected = f"{tmp_path}/0.png: belongs to several images, alike but for their folder or suffix"
    assert [line.partition("; ")[0] for line in lines(both)] == [expected]


def test_images_that_turn_without_another_size(tmp_path: Path) -> None:
    """Half a turn, which no size betrays; a quarter of one does, unless the image is square."""
    dataset = make_dataset(tmp_path, [LABEL, LABEL, np.zeros((4, 4), np.uint8), None])
    assert not scan(dataset).image_notes()
    for sample, orientation in zip(dataset.samples, (3, 6, 6, 3), strict=True):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.open(sample.image).save(sample.image, exif=exif)
    [note] = scan(dataset).image_notes()
    assert "their EXIF orientation turns 2 images of 'train', and no label" in note


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_images_of_which_bits_are_left_out(tmp_path: Path, channels: tuple[int, ...]) -> None:
    """Ten or twelve bits in sixteen are nearly black then, as of many cameras."""
    dataset = make_dataset(tmp_path, [LABEL, LABEL])
    sample = replace(dataset.samples[0], image=tmp_path / "deep.png")
    cv2.imwrite(str(sample.image), np.full((2, 3, *channels), 1023, np.uint16))
    [note] = scan(replace(dataset, samples=(sample, dataset.samples[1]))).image_notes()
    assert note.startswith(
        "note: 16 bits a channel in 1 image of 'train', of which the upper 8 are used; where"
    )


def test_classes_that_no_label_has(tmp_path: Path) -> None:
    table = LabelTable(("road", "sky", "car"), ((0, 0, 0),) * 3, {0: 0, 1: 1, 2: 2, 9: 255})
    without = "note: no label of 'train' has a pixel of"
    report = scan(make_dataset(tmp_path, [np.zeros((2, 2), np.uint8)], table))
    assert report.absent_note(trains=False) == f"{without} sky, car: such a class cannot score above 0"
    missing = (
        f"{without} car: such a class cannot be learnt; add images of it, or leave it out of the classes"
    )
    report = scan(make_dataset(tmp_path, [np.array([[0, 1, 9]], np.uint8)], table))
    assert report.absent_note(trains=True) == missing
    for label in (np.array([[0, 1, 2]], np.uint8), np.full((2, 2), 9, np.uint8), None):
        assert scan(make_dataset(tmp_path, [label], table)).absent_note(trains=True) is None


def test_one_class_alone_teaches_nothing(tmp_path: Path) -> None:
    """As where a mask's second class, 255, is under ignore."""
    table = LabelTable(("background", "crack"), ((0, 0, 0),) * 2, {0: 0, 1: 1, 255: 255})
    alone = "no label of split 'train' has a pixel of any class but background; expected two or more; add "
    fix = "images of others, or declare its values as classes"
    of_mask = ", such as {name: crack, value: 255}; crack is value 1 now, and what occurs under ignore is 255"
    for other, more in ((0, ""), (255, of_mask)):
        report = scan(make_dataset(tmp_path, [np.array([[0, other]], np.uint8)], table))
        assert report.void_problem(trains=True) == f"{alone}{fix}{more}"
        assert report.void_problem() is report.absent_note(trains=True) is None
    void = scan(make_dataset(tmp_path, [np.full((1, 2), 255, np.uint8)], table)).void_problem()
    assert void is not None and "has a pixel of any class; expected some; take another split, or" in void


@pytest.mark.parametrize(("crop", "padded"), [((2, 3), False), ((3, 3), True), ((2, 4), True)])
def test_images_smaller_than_the_crops(crop: tuple[int, int], padded: bool, tmp_path: Path) -> None:
    note = scan(make_dataset(tmp_path, [LABEL])).crop_note(crop, None)
    assert (note is not None) == padded
    assert note is None or f"images of 2x3 are smaller than augment.crop, {crop[0]}x{crop[1]}" in note


def test_the_crop_that_fits(tmp_path: Path) -> None:
    """Of portraits, for which the crop of landscapes is too wide and may be as high."""
    note = scan(make_dataset(tmp_path, [np.zeros((120, 90), np.uint8)])).crop_note((90, 120), None)
    assert note is not None and note.startswith(
        "note: images of 120x90 are smaller than augment.crop, 90x120 (height x width): what is"
    )
    assert note.endswith("is padding; set augment.crop=[90,90]")


def test_images_that_are_brought_down_below_the_crops(tmp_path: Path) -> None:
    report = scan(make_dataset(tmp_path, [np.zeros((200, 300), np.uint8)]))
    assert report.crop_note((100, 150), 100) is None
    note = report.crop_note((100, 151), 100)
    assert (
        note is not None
        and "images of 100x150 (at data.short_side) are smaller than augment.crop, 100x151" in note
    )


@pytest.mark.parametrize(
    ("crop", "short_side", "said"),
    [
        (
            (10, 20),
            None,
            "images of 40x64 are far larger than augment.crop, 10x20 (height x width): a crop sees 7.8% of "
            "one; set data.short_side, such as 13",
        ),
        ((10, 10), 35, "images of 35x56 (at data.short_side) are far larger than augment.crop, 10x10"),
        ((10, 10), 30, None),
        ((14, 14), None, None),
    ],
)
def test_images_far_larger_than_the_crops(
    tmp_path: Path, crop: tuple[int, int], short_side: int | None, said: str | None
) -> None:
    report = scan(make_dataset(tmp_path, [np.zeros((40, 64), np.uint8)]))
    note = report.crop_note(crop, short_side)
    assert note is None if said is None else note is not None and said in note


def test_the_size_that_is_learnt_at(tmp_path: Path) -> None:
    """Images are brought down to `data.short_side`, and none is enlarged."""
    labels = [np.zeros(size, np.uint8) for size in ((30, 90), (30, 60), (80, 40))]
    report = scan(make_dataset(tmp_path, labels))
    assert [report.learnt_side(short_side) for short_side in (None, 30, 40, 100)] == [None, 30, 40, 40]
    assert report.side_note(None) is report.side_note(40) is None
    note = report.side_note(100)
    assert note is not None and note.startswith(
        "note: no image of 'train' is as large as data.short_side, 100:"
    )
    assert "the model learns at a shorter side of 40 pixels" in note


def test_more_sizes_than_are_kept_compiled(tmp_path: Path) -> None:
    labels = [np.zeros((2 * side, 3 * side), np.uint8) for side in (20, 30, 40, 50)]
    report = scan(make_dataset(tmp_path, [*labels, np.zeros((100, 120), np.uint8)]))
    note = report.sizes_note(None, 4)
    assert note is not None and "'train' has images of 5 sizes, each compiled for in every validation" in note
    assert report.sizes_note(None, 5) is report.sizes_note(60, 2) is None, "two as they are, three to two"
    note = report.sizes_note(80, 2)
    assert note is not None and "'train' has images of 3 sizes, each" in note, "and two that are kept"


def test_progress_counts_up(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    scan(make_dataset(tmp_path, [LABEL] * 5), on_sample=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_an_interrupt_leaves_the_rest_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_slowly(path: Path) -> tuple[int, int]:
        read.append(path)
        time.sleep(0.01)
        return LABEL.shape

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    read: list[Path] = []
    monkeypatch.setattr(scan_sample, "verify_image", read_slowly)
    with pytest.raises(KeyboardInterrupt):
        scan(make_dataset(tmp_path, [LABEL] * 100), on_sample=interrupt)
    assert len(read) < 100


def test_each_bad_file_is_named(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [LABEL, None, LABEL, LABEL, LABEL])
    (tmp_path / "2.jpg").write_bytes((tmp_path / "2.jpg").read_bytes()[:-40])
    (tmp_path / "3.png").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "4.png"), np.zeros((8, 9), np.uint8))
    report = scan(dataset)
    assert report.summary() == "5 images, 1 missing label, 2 corrupt, 1 wrong label"
    one, two, three, four = sorted(map(str, report.problems))
    missing = "no label; expected one of its name; add the file or leave the image out"
    assert one == f"{tmp_path / '1.jpg'}: {missing}"
    assert two.startswith(f"{tmp_path / '2.jpg'}: cannot be read (")
    assert three.startswith(f"{tmp_path / '3.png'}: is empty (0 bytes); expected an image")
    sizes = "label of 8×9 for an image of 2×3 (height×width); expected equal sizes; export them again"
    assert four == f"{tmp_path / '4.png'}: {sizes}"


def test_labels_in_another_format(tmp_path: Path) -> None:
    """What shares one is counted together; the images themselves, here beside them, are none."""
    dataset = replace(make_dataset(tmp_path, [LABEL, None, None, None]), labels="*.png")
    for name in ("1.TIF", "2.TIF"):
        (tmp_path / name).touch()
    several, one = lines(dataset)
    tiff = "no label, but a .TIF file of its name in 2 of 4 images; expected *.png; export it as PNG"
    assert several == f"{tiff} (1.jpg, 2.jpg)"
    assert one == f"{tmp_path / '3.jpg'}: no label; expected *.png; add the file or leave the image out"


def test_labels_whose_names_lack_an_ending_of_the_images(tmp_path: Path) -> None:
    """As ACDC's, in folders below; a name that begins with that of another image is no such thing."""
    dataset = make_dataset(tmp_path, [LABEL])
    images = [tmp_path / "rgb/fog" / f"{name}.png" for name in ("d-1_rgb_anon", "d-2_rgb_anon", "b", "b_2")]
    for path in (*images, *(tmp_path / "gt/fog" / f"gt_{name}_ids.png" for name in ("d-1", "d-2", "b"))):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), LABEL)
    samples = tuple(map(Sample, images))
    several, *others = lines(replace(dataset, samples=samples, labels="gt/gt_*_ids.png"))
    assert several == (
        "no label, but one of its name without _rgb_anon.png in 2 of 4 images; expected gt/gt_*_ids.png; "
        "set image_suffixes: [_rgb_anon.png] (d-1_rgb_anon.png, d-2_rgb_anon.png)"
    )
    [line] = others
    assert line.startswith("no label in 2 of 4 images; expected gt/gt_*_ids.png; add the file or leave")
    (tmp_path / "gt/fog/gt_b_ids.TIF").touch()
    assert "a .TIF file of its name" in str(
        lines(replace(dataset, samples=samples, labels="gt/gt_*_ids.png"))
    )


def test_a_label_that_was_not_turned_with_its_image(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [LABEL])
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (3, 2)).save(dataset.samples[0].image, exif=exif)
    (line,) = lines(dataset)
    assert "image of 3×2 (height×width); expected equal sizes; turn the label too if the image" in line


def test_bad_data_is_refused_in_one_line(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [LABEL, None, None, LABEL + 200])
    message = (
        r"^harbour train: 4 images, 2 missing labels, 0 corrupt, 1 wrong label; "
        r"no label in 2 of 4 images; .* \(1.jpg, 2.jpg\) \(3 more\); "
        r"see all with `data check --config FILE --data DIR --split train`$"
    )
    with pytest.raises(DataError, match=message):
        scan(dataset).raise_if_bad()


def test_a_value_that_all_labels_share_is_said_once(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [LABEL + 1] * 7)
    assert lines(dataset) == [
        "value 12 in 7 of 7 labels; declare it as a class or under ignore (0.png, 1.png, 2.png, …)"
    ]
    assert scan(dataset).pixels[1] == 14  # what is declared is still counted
    assert scan(dataset).summary() == "7 images, 0 missing labels, 0 corrupt, 7 wrong labels"


def test_a_photo_in_place_of_a_label_is_one_problem(tmp_path: Path) -> None:
    photo = np.arange(100, 148, dtype=np.uint8).reshape(6, 8)
    [line] = lines(make_dataset(tmp_path, [LABEL, photo]))
    assert line.startswith(
        f"{tmp_path / '1.png'}: more than 8 values that are not in the label table; use the"
    )
    assert "or a score map; of a blurred mask of two classes save (mask >= 128) * 255" in line


def test_color_masks_are_wrong_not_corrupt(tmp_path: Path) -> None:
    report = scan(make_dataset(tmp_path, [np.dstack([LABEL, LABEL, LABEL + 1])] * 4))
    assert report.summary() == "4 images, 0 missing labels, 0 corrupt, 4 wrong labels"
    [problem] = report.problems
    assert str(problem).startswith("holds RGB pixels in 4 of 4 labels; expected one 8-bit channel")


def test_train_ids_for_label_ids_are_said_once(tmp_path: Path) -> None:
    train_ids = np.array([[0, 0, 2, 2, 8], [0, 0, 2, 13, 255]], np.uint8)
    [line] = lines(make_dataset(tmp_path, [train_ids] * 5, CITYSCAPES))
    assert line.startswith("train ids where label ids are expected in 5 of 5 labels; use the original label")


def test_label_ids_for_train_ids_are_said_once(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [np.array([[7, 7, 26, 23, 3]], np.uint8)] * 3, CITYSCAPES)
    samples = tuple(Sample(each.image, each.label, label_holds_train_ids=True) for each in dataset.samples)
    [line] = lines(Dataset("cityscapes", "train", tmp_path, CITYSCAPES, samples))
    assert line.startswith("label ids where train ids are expected in 3 of 3 labels; write the file again")


def of_street(values: Iterable[int], ignored: Iterable[int]) -> LabelTable:
    """Cityscapes' classes as a `dataset.yaml` has them: none is marked as thin."""
    train_ids = dict.fromkeys(ignored, 255) | {value: index for index, value in enumerate(values)}
    return LabelTable(CITYSCAPES.names, CITYSCAPES.colors, train_ids)


@pytest.mark.parametrize("ignored", [[255], [*range(34), 255]])
def test_train_ids_for_the_label_ids_of_other_street_data(tmp_path: Path, ignored: list[int]) -> None:
    """As BDD100K's masks, with the values that are right for KITTI: the pixels are nearly all void then."""
    table = of_street(LABEL_IDS, ignored)
    train_ids = np.array([[0, 0, 2, 2, 8], [0, 0, 2, 13, 255]], np.uint8)
    [line] = lines(make_dataset(tmp_path, [train_ids] * 2, table))
    assert line.startswith("train ids where label ids are expected in 2 of 2 labels; use the original label")
    assert "or leave `value` out of dataset.yaml and ignore 255 alone (0.png" in line
    assert not lines(make_dataset(tmp_path, [np.array([[7, 7, 26, 23, 255, 255, 255]], np.uint8)], table))


@pytest.mark.parametrize("ignored", [[255], [*range(19, 34), 255]])
def test_label_ids_for_the_train_ids_of_other_street_data(tmp_path: Path, ignored: list[int]) -> None:
    """As KITTI's labels, under the classes' names alone."""
    table = of_street(range(19), ignored)
    label = np.array([[7, 7, 26, 23, 3, 33, 31, 30, 29, 28, 27, 25, 24, 22, 21]], np.uint8)
    [line] = lines(make_dataset(tmp_path, [label] * 2, table))
    assert line.startswith("label ids where train ids are expected in 2 of 2 labels; give each class its ")
    for values in ([0, 13, 18, 255], [0, 13, 40]):
        found = lines(make_dataset(tmp_path, [np.array([values], np.uint8)], table))
        assert not any("label ids" in line for line in found)


def test_values_beside_the_train_ids_may_be_void(tmp_path: Path) -> None:
    label = np.array([[0, 13, 18, 19, 255]], np.uint8)
    assert not lines(make_dataset(tmp_path, [label], of_street(range(19), [19, 255])))
    label_of_more = np.array([[0, 13, 18, 20, 21, 255]], np.uint8)
    assert not lines(make_dataset(tmp_path, [label_of_more], of_street(range(19), [20, 21, 255])))
    [line] = lines(make_dataset(tmp_path, [label], of_street(range(19), [255])))
    assert "value 19; declare it as a class or under ignore" in line


@pytest.mark.parametrize(
    "label",
    [
        pytest.param([[7, 7, 11, 11, 21], [7, 7, 26, 23, 3]], id="label ids"),
        pytest.param([[7, 7, 11, 11, 8], [7, 7, 8, 17, 3]], id="road and houses only"),
        pytest.param([[0, 1, 2, 3, 3], [3, 3, 3, 3, 3]], id="void only, as in the test split"),
        pytest.param([[0, 0, 1, 2, 3, 0], [0, 0, 0, 7, 8, 11]], id="coarse"),
        pytest.param([[0, 0, 0, 7], [255, 0, 0, 7]], id="road alone, and two kinds of void"),
    ],
)
def test_label_ids_are_not_taken_for_train_ids(tmp_path: Path, label: list[list[int]]) -> None:
    for table in (CITYSCAPES, of_street(LABEL_IDS, [*range(7), 255])):
        assert lines(make_dataset(tmp_path, [np.array(label, np.uint8)], table)) == []


def test_classes_that_begin_at_1_are_not_taken_for_train_ids(tmp_path: Path) -> None:
    table = LabelTable(("a", "b", "c"), ((0, 0, 0),) * 3, {0: 255, 1: 0, 2: 1, 3: 2})
    assert lines(make_dataset(tmp_path, [np.array([[0, 0, 0, 1, 2]], np.uint8)], table)) == []


def test_sparse_values_of_ones_own_are_not_taken_for_train_ids(tmp_path: Path) -> None:
    """Those of COCO: most are beyond the number of classes, and an image may show only the first."""
    table = LabelTable(("person", "cat", "dog"), ((0, 0, 0),) * 3, {0: 255, 1: 0, 17: 1, 18: 2})
    assert lines(make_dataset(tmp_path, [np.array([[0, 0, 0, 0, 1]], np.uint8)], table)) == []


def test_files_of_train_ids_are_not_mapped(tmp_path: Path) -> None:
    """Nor looked at as label ids, of which 8 is one."""
    dataset = make_dataset(tmp_path, [np.array([[0, 8, 18, 255]], np.uint8)], CITYSCAPES)
    sample = Sample(dataset.samples[0].image, dataset.samples[0].label, label_holds_train_ids=True)
    report = scan(Dataset("cityscapes", "train", tmp_path, CITYSCAPES, (sample,)))
    assert not report.problems
    assert report.pixels[0] == report.pixels[8] == report.pixels[18] == report.ignored_pixels == 1
