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
