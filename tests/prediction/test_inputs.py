import json
from pathlib import Path, PureWindowsPath

import pytest

from fornet_keras.errors import DataError
from fornet_keras.prediction import inputs
from fornet_keras.prediction.inputs import find_inputs
from tests.data.unlisted import refuse_to_list


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def names(*arguments: str) -> dict[str, str]:
    """Input → name of its outputs."""
    found = find_inputs(arguments, Path("out"))
    return {entry.path.as_posix(): entry.name.as_posix() for entry in found}


def test_folder_keeps_its_structure_and_leaves_out_what_is_no_picture(here: Path) -> None:
    touch("in/b.JPG", "in/a.png", "in/city/c.mp4", "in/notes.txt", "in/.hidden.png", "in/.cache/d.png")
    assert names("in") == {"in/a.png": "a", "in/b.JPG": "b", "in/city/c.mp4": "city/c"}


def test_file_glob_and_folder_give_each_input_once_in_their_order(here: Path) -> None:
    touch("in/z.png", "in/a.png", "in/m.png")
    assert list(names("in/z.png", "in/[am].png", "in", "./in/../in/a.png")) == [
        "in/z.png",
        "in/a.png",
        "in/m.png",
    ]


def test_glob_with_any_folders_keeps_no_folder_for_itself(here: Path) -> None:
    touch("in/a.png", "in/deep/b.png")
    assert names("in/**") == {"in/a.png": "a", "in/deep/b.png": "b"}


def test_glob_of_folders(here: Path) -> None:
    touch("day1/a.png", "day2/b.png")
    assert names("day*") == {"day1/a.png": "a", "day2/b.png": "b"}


def test_glob_of_files_and_folders(here: Path) -> None:
    """A folder in which there is nothing is passed over where a glob has found it."""
    touch("in/a.png", "in/day/b.png", "in/notes/c.txt")
    assert names("in/*") == {"in/a.png": "a", "in/day/b.png": "b"}
    with pytest.raises(DataError, match=r"in/n\*: no image or video in it"):
        names("in/n*")


def test_links_to_folders_are_followed_and_each_folder_is_entered_once(here: Path) -> None:
    touch("elsewhere/.kept/a.png", "in/deep/b.png", "in/c.png")
    for link, target in (
        ("away", "../elsewhere/.kept"),
        ("again", "deep"),
        ("deep/loop", ".."),
        ("up", ".."),
    ):
        Path("in", link).symlink_to(target)
    assert names("in") == {"in/away/a.png": "away/a", "in/c.png": "c", "in/deep/b.png": "deep/b"}


def test_one_stem_twice_in_a_folder_is_told_apart_by_suffix(here: Path) -> None:
    touch("in/a.png", "in/a.jpg", "in/b.png")
    assert names("in") == {"in/a.jpg": "a.jpg", "in/a.png": "a.png", "in/b.png": "b"}


def test_one_name_in_two_folders_is_told_apart_by_folder(here: Path) -> None:
    touch("day1/a.png", "day2/a.png", "day2/deep/a.png")
    expected = {"day1/a.png": "day1/a", "day2/a.png": "day2/a", "day2/deep/a.png": "deep/a"}
    assert names("day1", "day2") == expected
    assert names("day1/a.png", "day2/a.png") == {"day1/a.png": "day1/a", "day2/a.png": "day2/a"}


def test_capitals_alone_do_not_tell_apart(here: Path) -> None:
    touch("x/A.png", "y/a.png")
    assert set(names("x", "y").values()) == {"x/A", "y/a"}


def test_whole_path_where_nothing_shorter_tells_apart(here: Path) -> None:
    touch("x/in/a.png", "y/in/a.png")
    whole = here.relative_to(here.anchor).as_posix()
    assert set(names("x/in", "y/in").values()) == {f"{whole}/x/in/a.png", f"{whole}/y/in/a.png"}


def test_drives_of_windows_tell_apart(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its shares."""
    places = {"c": "C:/in/a.png", "d": "D:/in/a.png", "share": "//host/my share/in/a.png"}
    touch(*(f"{folder}/in/a.png" for folder in places))
    absolute = property(lambda found: PureWindowsPath(places[found.path.parts[0]]))
    monkeypatch.setattr(inputs._Found, "absolute", absolute)
    found = names("c/in", "d/in", "share/in", "c/in/a.png")
    assert [*found.values()] == ["C/in/a.png", "D/in/a.png", "host_my_share/in/a.png"]


def test_two_slashes_are_one(here: Path) -> None:
    touch("a.png")
    assert names(f"{here}/a.png", f"/{here}/a.png") == {f"{here}/a.png": "a"}


def record(folder: str, *keys: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, "sources.json").write_text(json.dumps({key: ["/photo.png", 1, 2] for key in keys}))
    Path(folder, "settings.json").touch()


def test_earlier_outputs_are_no_inputs(here: Path) -> None:
    touch("in/a.png", "in/out/a_labels.png", "in/out/a_overlay.png", "in/out/legend.png", "in/out/new.png")
    record("in/out", "a")
    found = find_inputs(["in", "in/**/*.png"], Path("in/out"))
    assert [entry.path.as_posix() for entry in found] == ["in/a.png", "in/out/new.png"]


def test_outputs_of_a_run_into_another_folder_are_no_inputs(here: Path) -> None:
    """Where nothing records that they are outputs, they are photographs that are called alike."""
    touch("in/a.png", "in/alike/b_labels.png", "in/out1/legend.png", "in/out1/day/a_labels.png")
    touch("in/out1/day/a_overlay.mp4", "in/out1/day/mine_labels.png", "in/out1/c_overlay.mp4")
    record("in/out1", "day/a", "c/")
    alike = {"in/alike/b_labels.png", "in/out1/day/a_overlay.mp4", "in/out1/day/mine_labels.png"}
    for argument in ("in", "in/**", "i*"):
        assert {*names(argument)} == {"in/a.png", *alike}
    assert {*names("in/*/*")} == alike
    assert {*names("in/out1/day/a_labels.png", "in/out1/legend.png")} == {
        "in/out1/day/a_labels.png",
        "in/out1/legend.png",
    }


def test_a_users_own_files_in_the_folder_of_the_outputs_are_inputs(here: Path) -> None:
    """However they are called: another program's sources.json makes them no predictions."""
    touch("out/a_labels.png", "out/b_overlay.png", "out/c_overlay.mp4", "out/legend.png")
    for content in (None, "[1", '{"pypi": "https://pypi.org"}'):
        if content:
            Path("out/sources.json").write_text(content)
        assert len(names("out")) == 4


def test_outputs_that_a_shell_names_are_passed_over(here: Path) -> None:
    """`photos/*` with the predictions in photos."""
    touch("out/a.png", "out/a_labels.png", "out/b_labels.png", "out/legend.png")
    record("out", "a")
    photos = [path.as_posix() for path in sorted(Path("out").iterdir())]
    assert len(photos) == 6
    assert {*names(*photos)} == {"out/a.png", "out/b_labels.png"}
    with pytest.raises(DataError, match="^out/a_labels.png: is of an earlier prediction; expected"):
        names("out/a_labels.png", "out/legend.png")


def test_a_folder_of_outputs_that_a_shell_names_is_passed_over(here: Path) -> None:
    """`*` with the predictions in a folder beside the photographs."""
    touch("a.png", "out/a_labels.png", "out/legend.png")
    record("out", "a")
    assert {*names("a.png", "out")} == {"a.png"}
    with pytest.raises(DataError, match="^out: is of an earlier prediction; expected images"):
        names("out")


def test_pictures_that_cannot_be_read_are_not_passed_over(here: Path) -> None:
    touch("in/a.png", "in/b.TIFF", "in/c.heif", "in/notes.txt")
    Path("in/gone.png").symlink_to("nowhere.png")
    found = [entry.path.name for entry in find_inputs(["in"], Path("out"))]
    assert found == ["a.png", "b.TIFF", "c.heif", "gone.png"]


def test_a_folder_that_cannot_be_listed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch("in/a.png", "in/day/b.png")
    refuse_to_list(monkeypatch, here / "in/day")
    with pytest.raises(DataError, match=r"^in/day: cannot be listed \(Permission denied\); .*its mode$"):
        find_inputs(["in"], Path("out"))


def test_a_list_with_links_names_outputs_below_the_folder_of_all(here: Path) -> None:
    touch("in/a.png", "in/sub/deep/b.png")
    Path("in/link").symlink_to("sub/deep")
    Path("in/list.txt").write_text("link/../../a.png\nlink/b.png")
    assert names("@in/list.txt") == {"in/link/../../a.png": "a", "in/link/b.png": "link/b"}


def test_a_file_opens_no_camera_and_no_stream(here: Path) -> None:
    """Nor does a line in a list of somebody's."""
    touch("camera:0")
    Path("list.txt").write_text("camera:0\nhttp://a/b.mp4")
    for argument in ("@list.txt", "cam*", "./camera:0"):
        assert {entry.source for entry in find_inputs([argument], Path("out"))} == {None}
    assert find_inputs(["camera:0"], Path("out"))[0].source == 0


def test_streams_are_called_what_their_addresses_are_without_passwords(here: Path) -> None:
    cameras = [f"rtsp://me:p@ss/word@10.0.0.5:554/cam?channel={number}" for number in (1, 2)]
    assert [entry.source for entry in find_inputs(cameras, Path("out"))] == cameras
    assert names(*cameras) == {
        "10.0.0.5:554/cam?channel=1": "stream_10_0_0_5_554_cam_channel_1",
        "10.0.0.5:554/cam?channel=2": "stream_10_0_0_5_554_cam_channel_2",
    }


@pytest.mark.parametrize("secret", ["u:pa#ss", "u:p?ss", "u:p@ss", "u:p/ss", "u", "u:p#s?s/@", "u:\n"])
def test_no_part_of_a_streams_password_is_shown(here: Path, secret: str) -> None:
    assert names(f"rtsp://{secret}@cam/1") == {"cam/1": "stream_cam_1"}


@pytest.mark.parametrize("rest", ["u:secret@", "u:secret@/", "u:sec@ret@//", "u:secret\n@", "", "//"])
def test_a_stream_without_a_host_is_refused_without_its_password(here: Path, rest: str) -> None:
    with pytest.raises(DataError, match="^an INPUT is a stream's address without a host; .*PATH") as refused:
        names(f"rtsp://{rest}")
    assert "sec" not in str(refused.value)


def test_streams_that_differ_in_what_is_hidden_alone_are_not_one(here: Path) -> None:
    camera = "http://one/x?mail=a@b"
    assert names(camera, camera) == {"b": "stream_b"}
    with pytest.raises(DataError, match="^b: two INPUTs have this name; .*into folders of their own"):
        names(camera, "http://two/x?mail=a@b")


def test_a_slash_at_the_end_makes_no_other_stream(here: Path) -> None:
    assert names("http://cam/x", "http://cam/x/") == {"cam/x": "stream_cam_x"}


def test_videos_are_told_by_their_ending(here: Path) -> None:
    touch("in/a.MP4", "in/b.png", "in/c.mkv", "in/d.webm", "in/e.m4v", "in/f.MTS")
    assert [entry.is_video for entry in find_inputs(["in"], Path("out"))] == [True, False] + [True] * 4


def test_a_data_set_is_refused_for_its_labels(here: Path) -> None:
    Path("data/images").mkdir(parents=True)
    Path("data/dataset.yaml").touch()
    Path("data/images/a.png").touch()
    with pytest.raises(DataError, match=r"^data: has a dataset\.yaml, and labels, .*; name that one in it$"):
        find_inputs(["data"], Path("out"))
    Path("new").mkdir()
    Path("data").rename("new/data")
    image = Path("new/data/images/a.png")
    for argument in ("new/data/images", str(image), "new/*/images/*.png", "new/*/images"):
        assert [found.path for found in find_inputs([argument], Path("out"))] == [image]
    assert [found.path for found in find_inputs(["new"], Path("out"))] == [image], "another program's file"
    Path("new/data/dataset.yaml").write_text("name: x\nclasses: [water, quay]\n")
    with pytest.raises(DataError, match=r"^new/data: has a dataset\.yaml, and labels, .*"):
        find_inputs(["new"], Path("out"))


def test_a_link_that_leads_back_is_followed_once(here: Path) -> None:
    touch("in/a.png", "in/deep/b.png")
    Path("in/deep/loop").symlink_to("..")
    Path("in/other").symlink_to("deep")
    for argument in ("in", "in/**", "in/**/*.png"):
        assert {*names(argument)} == {"in/a.png", "in/deep/b.png"}


def test_brackets_in_the_name_of_a_folder_are_no_glob(here: Path) -> None:
    touch("day [1]/a.png", "day [1]/b.png", "day [1]/[c].png")
    assert {*names("day [1]/*.png")} == {*names("day [1]")}
    assert {*names("day [1]/[ab].png")} == {"day [1]/a.png", "day [1]/b.png"}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("", "^INPUT is empty; expected a path; look whether a variable in its place is set$"),
        ("nowhere.png", "nowhere.png: no such file or folder"),
        ("camera:4000000000", "camera:4000000000: no such file or folder"),
        ("no*.png", r"no\*.png: no file matches; expected images, videos or folders; check the spelling"),
        ("empty", "empty: no image or video in it; expected .png, .jpg, "),
        ("@list.txt", "list.txt: names no file; expected one path a line"),
    ],
)
def test_argument_that_names_nothing(here: Path, argument: str, message: str) -> None:
    Path("empty").mkdir()
    Path("list.txt").write_text("\n\n")
    with pytest.raises(DataError, match=message):
        find_inputs([argument], Path("out"))
