"""Names are found as people write them, or the error says what was probably meant."""

import pytest

from vad.errors import UsageError
from vad.names import SUFFIXES, VideoNames, did_you_mean, find_by_name

TABLE = {"rtfm": 1, "mgfn": 2}
STORED = VideoNames(["cam1/x", "cam2/x", "cam2/y", "z", "v1.5", "v1"])


def test_an_entry_is_found_by_its_name_alone():
    assert find_by_name("detector", "mgfn", TABLE) == 2
    with pytest.raises(UsageError) as told:
        find_by_name("detector", "rtmf", TABLE)
    assert str(told.value) == (
        "no detector named 'rtmf'; there are: rtfm, mgfn; did you mean 'rtfm'?"
    )


def test_a_name_that_is_near_none_gets_no_guess():
    assert did_you_mean("nothing like it", TABLE) == ""


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("cam1/x", ["cam1/x"]),  # the id itself, though two videos are called x
        ("x", ["cam1/x", "cam2/x"]),
        ("y", ["cam2/y"]),
        ("y.mp4", ["cam2/y"]),
        ("cam2/y.mp4", ["cam2/y"]),
        ("cam1/y", []),  # a video of another camera
        ("v1.5", ["v1.5"]),  # .5 is no suffix where a video is called so
        ("v1.6", ["v1"]),
        ("", []),
    ],
)
def test_a_video_is_found_by_its_id_its_stem_or_its_file(name, fits):
    assert STORED.find(name) == fits


def test_lists_of_data_sets_know_the_suffixes_that_folders_are_searched_for():
    from vad.datasets.lists import video_name

    assert {video_name(f"Abuse/Abuse028_x264{suffix.upper()}") for suffix in SUFFIXES} == {
        "Abuse028_x264"
    }
