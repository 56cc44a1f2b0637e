import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fornet_keras.data.synthetic import render_scene, write_city
from fornet_keras.data.synthetic.geometry import Box, Camera, Pose, normal
from fornet_keras.data.synthetic.labels import COUNTED, Label
from fornet_keras.data.synthetic.scene import Scene
from fornet_keras.errors import DataError

SIZE = (64, 128)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene(seed, (128, 256)) for seed in range(12)]


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_city(tmp_path_factory.mktemp("data") / "city", num_train=3, num_val=2, size=SIZE, seed=5)


def read(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, path
    return pixels


# === Scenes ===


@pytest.mark.parametrize("size", [(64, 64), (64, 128), (96, 72), (90, 120)])
def test_scene_has_the_size_and_types_that_were_asked_for(size: tuple[int, int]) -> None:
    scene = render_scene(3, size)
    assert (scene.image.shape, scene.image.dtype) == ((*size, 3), np.uint8)
    assert (scene.label_ids.shape, scene.label_ids.dtype) == (size, np.uint8)
    assert (scene.instance_ids.shape, scene.instance_ids.dtype) == (size, np.uint16)


def test_same_seed_gives_the_same_scene() -> None:
    first, again = render_scene(11, SIZE), render_scene(11, SIZE)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.instance_ids, again.instance_ids)


def test_labels_of_a_seed_stay_as_they_are() -> None:
    """Whatever the processor; those who publish a score on made-up streets name no more than the seed."""
    ids = render_scene(11, SIZE).instance_ids.astype("<u2").tobytes()
    assert (
        hashlib.sha256(ids).hexdigest() == "c655447a604dc7a289f986f0178c2f39804b25294781b37637cb503a5e4bcd65"
    )


def test_other_seed_gives_another_scene() -> None:
    first, other = render_scene(11, SIZE), render_scene(12, SIZE)
    assert np.mean(first.image != other.image) > 0.5
    assert np.mean(first.label_ids != other.label_ids) > 0.05


def test_labels_are_cityscapes_ids_and_all_of_them_occur(scenes: list[Scene]) -> None:
    seen = set(np.unique([scene.label_ids for scene in scenes]).tolist())
    assert seen == {int(label) for label in Label}


def test_scored_classes_occur_in_a_quarter_of_the_scenes(scenes: list[Scene]) -> None:
    unscored = {Label.EGO_VEHICLE, Label.STATIC}
    for label in set(Label) - unscored:
        assert sum(bool((scene.label_ids == label).any()) for scene in scenes) >= len(scenes) / 4, label


def test_instance_ids_number_counted_objects_and_repeat_the_label_elsewhere(scenes: list[Scene]) -> None:
    counted = [int(label) for label in COUNTED]
    for scene in scenes:
        is_counted = np.isin(scene.label_ids, counted)
        np.testing.assert_array_equal(scene.instance_ids[is_counted] // 1000, scene.label_ids[is_counted])
        np.testing.assert_array_equal(scene.instance_ids[~is_counted], scene.label_ids[~is_counted])


def test_a_street_looks_like_a_street(scenes: list[Scene]) -> None:
    for scene in scenes:
        lower, upper = scene.label_ids[-40:-14], scene.label_ids[:40]
        assert np.mean(lower == Label.ROAD) > 0.25
        assert not np.isin(upper, [Label.ROAD, Label.SIDEWALK]).any()
        assert 50 < scene.image.mean() < 180
        assert scene.image.std() > 15


def test_sky_is_smoother_than_houses(scenes: list[Scene]) -> None:
    # The label must fit the image: the contrast between neighbours differs between classes.
    def contrast(label: Label) -> float:
        steps = [np.abs(np.diff(scene.image.astype(int), axis=1)).mean(axis=2) for scene in scenes]
        inside = [(s.label_ids[:, 1:] == label) & (s.label_ids[:, :-1] == label) for s in scenes]
        return float(np.concatenate([step[mask] for step, mask in zip(steps, inside, strict=True)]).mean())

    assert contrast(Label.SKY) < 0.7 * contrast(Label.BUILDING)


# === Geometry ===


def test_ground_is_the_inverse_of_projection() -> None:
    camera = Camera(SIZE, focal=110.0, vanishing=(60.0, 28.0), height=1.5, offset=1.2, curve=0.006)
    first, x, z = camera.ground()
    points = np.array([(x[row, column], 0.0, z[row, 0]) for row in (4, 20) for column in (5, 100)])
    expected = [(5, first + 4), (100, first + 4), (5, first + 20), (100, first + 20)]
    np.testing.assert_allclose(camera.project(points), expected, atol=0.02)


def test_normals_point_out_of_a_box() -> None:
    box = Box(Pose(0.0, 10.0), width=2.0, bottom=0.0, top=1.0, rear=-2.0, front=2.0)
    directions = {
        "rear": (0, 0, -1),
        "front": (0, 0, 1),
        "left": (-1, 0, 0),
        "right": (1, 0, 0),
        "top": (0, 1, 0),
    }
    for name, direction in directions.items():
        np.testing.assert_allclose(normal(box.face(name)), direction, atol=1e-12)


# === Cities ===


def test_city_has_the_layout_of_cityscapes(city: Path) -> None:
    files = {str(path.relative_to(city)) for path in city.rglob("*") if path.is_file()}
    expected = set()
    for split, place, count in (("train", "arcadia", 3), ("val", "belmont", 2)):
        for index in range(count):
            stem = f"{split}/{place}/{place}_{index:06d}_000019"
            expected.add(f"leftImg8bit/{stem}_leftImg8bit.png")
            expected.update(f"gtFine/{stem}_gtFine_{kind}.png" for kind in ("labelIds", "instanceIds"))
    assert files == expected


def test_files_hold_the_rendered_scene(city: Path) -> None:
    image = read(city / "leftImg8bit/train/arcadia/arcadia_000001_000019_leftImg8bit.png")
    labels = read(city / "gtFine/train/arcadia/arcadia_000001_000019_gtFine_labelIds.png")
    instances = read(city / "gtFine/train/arcadia/arcadia_000001_000019_gtFine_instanceIds.png")
    scene = render_scene(10_000_001, SIZE)  # city 5 begins at 5 * 2 splits * 1,000,000
    np.testing.assert_array_equal(image[..., ::-1], scene.image)
    np.testing.assert_array_equal(labels, scene.label_ids)
    np.testing.assert_array_equal(instances, scene.instance_ids)
    assert (labels.dtype, instances.dtype) == (np.uint8, np.uint16)


def test_no_scene_occurs_twice(city: Path) -> None:
    images = [path.read_bytes() for path in city.glob("leftImg8bit/*/*/*.png")]
    assert len(set(images)) == len(images) == 5


def test_progress_is_told_once_a_scene(tmp_path: Path) -> None:
    calls: list[int] = []
    root = write_city(tmp_path / "city", 2, 1, SIZE, on_scene=lambda: calls.append(1))
    assert (root, len(calls)) == (tmp_path / "city", 3)


def test_the_current_folder_and_a_link_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "scratch").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "scratch")
    monkeypatch.chdir(tmp_path / "here")
    for root in (Path(), tmp_path / "link"):
        write_city(root, 1, 1, SIZE)
        assert sorted(path.name for path in root.iterdir()) == ["gtFine", "leftImg8bit"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "link", "scratch"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_train": 0}, r"num_train must be 1…1,000,000; received 0; use 1$"),
        ({"num_val": -3}, r"num_val must be 1…1,000,000; received -3; use 1$"),
        ({"num_val": 1_000_001}, r"num_val must be 1…1,000,000; received 1000001; use 1000000$"),
        ({"size": (32, 128)}, r"must be 64…32766; received \(32, 128\); use \(64, 128\)"),
        ({"size": (64, 40_000)}, r"must be 64…32766; received \(64, 40000\); use \(64, 32766\)"),
        ({"seed": -4}, r"seed must be 0 or more; received -4; use 4"),
    ],
)
def test_unusable_arguments_are_refused(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_city(tmp_path / "city", **{"num_train": 1, "num_val": 1, "size": SIZE, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="exists already; expected a new or empty folder; choose another"):
        write_city(tmp_path, 1, 1, SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """In a folder that was there, or that it made itself."""
    program = (
        "import os, sys; from fornet_keras.data.synthetic import write_city\n"
        "for folder in sys.argv[1:]:\n"
        "    if not os.fork():\n"
        "        write_city(folder, 1, 1, (64, 64), on_scene=lambda: os._exit(9))\n"
        "    os.wait()"
    )
    (tmp_path / "there").mkdir()
    subprocess.run([sys.executable, "-c", program, tmp_path / "there", tmp_path / "new"], check=True)
    for name in ("there", "new"):
        assert [*(tmp_path / name).iterdir()]
        write_city(tmp_path / name, 1, 1, SIZE)
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["gtFine", "leftImg8bit"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "there"]


def test_what_others_write_in_a_folder_that_is_refused_stays(tmp_path: Path) -> None:
    (tmp_path / ".0f.writing").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="exists already"):
        write_city(tmp_path, 1, 1, SIZE)
    assert (tmp_path / ".0f.writing").exists()


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "city").symlink_to("gone")
    with pytest.raises(DataError, match="exists already"):
        write_city(tmp_path / "city", 1, 1, SIZE)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "city").write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        write_city(tmp_path / "city", 1, 1, SIZE)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match=r"the city cannot be written \(.+\); expected .+; choose") as caught:
        write_city(tmp_path / "file" / "city", 1, 1, SIZE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_midway_leaves_nothing_behind(tmp_path: Path, failure: type[BaseException]) -> None:
    calls: list[int] = []

    def fail_at_the_third() -> None:
        assert all(path.name.startswith(".") for path in (tmp_path / "city").iterdir())
        calls.append(1)
        if len(calls) == 3:
            raise failure

    with pytest.raises(failure):
        write_city(tmp_path / "city", 4, 4, SIZE, on_scene=fail_at_the_third)
    assert list(tmp_path.iterdir()) == []
