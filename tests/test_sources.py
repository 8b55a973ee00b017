"""Which videos a command means, and what each is called."""

import pytest

from vad.errors import UsageError
from vad.stages.extract.sources import find_sources


@pytest.fixture
def videos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("v/a.mp4", "v/cam1/b.MKV", "v/cam2/b.avi", "v/notes.txt", "v/.hidden/c.mp4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "v"


def ids(*inputs):
    return [source.id for source in find_sources(inputs)]


def test_a_folder_stands_for_the_videos_in_and_below_it(videos):
    assert ids(videos) == ["a", "cam1/b", "cam2/b"]


def test_files_globs_and_lists(videos):
    assert ids("v/a.mp4", "v/cam1/*") == ["a", "b"]
    (videos / "list.txt").write_text("v/a.mp4\n\nv/cam2\n")
    assert ids("@v/list.txt") == ["a", "b"]
    assert ids("v/notes.txt") == ["notes"]  # a file that is named is taken at its word


def test_one_file_named_twice_is_one_video(videos):
    (videos / "link.mp4").symlink_to(videos / "a.mp4")
    assert ids("v/a.mp4", "v/../v/a.mp4") == ["a"]


def test_two_files_of_one_name_are_refused(videos):
    with pytest.raises(UsageError, match="would both be called 'b'; name the folder above both"):
        ids("v/cam1/b.MKV", "v/cam2/b.avi")


def test_nothing_to_do_is_refused(videos):
    (videos / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no video in v/empty; a folder is searched for .*\.mp4"):
        ids("v/empty")
    with pytest.raises(UsageError, match="no file, folder or glob match: v/x.mp4"):
        ids("v/x.mp4")
    with pytest.raises(UsageError, match="no file none.txt"):
        ids("@none.txt")


def test_a_name_that_is_no_utf8_still_gets_an_id(videos):
    (videos / "a.mp4").unlink()
    path = bytes(videos) + b"/caf\xe9.mp4"
    open(path, "wb").close()
    assert ids(videos)[0] == "caf\\xe9"


def test_recordings_of_every_kind_are_found_and_the_files_left_out_are_told(videos, caplog):
    for name in ("nvr.264", "nvr2.dav", "disc.VOB", "cam.mod", "anim.gif", "old.mjpeg"):
        (videos / name).touch()
    (videos / "notes2.txt").touch()
    (videos / "x.csv").touch()
    with caplog.at_level("INFO", logger="vad"):
        found = ids("v")
    assert {"nvr", "nvr2", "disc", "cam", "anim", "old"} <= set(found)
    assert "v: 3 files left out whose suffix is of no video (2 .txt, 1 .csv), such as v/" in (
        caplog.text
    )


def test_linked_folders_are_followed_and_loops_end(videos, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "d.mp4").touch()
    (videos / "linked").symlink_to(tmp_path / "elsewhere")
    (videos / "loop").symlink_to(videos)
    assert ids("v") == ["a", "cam1/b", "cam2/b", "linked/d"]
