"""Scores without a run: how unlike the rest of its video each moment is."""

import json
import re
import shutil

import av
import numpy as np
import pytest

from vad.stages.infer.novelty import MEANING, novelty_of
from vad.stages.infer.scores_file import read_scores


def rows_of(n, n_cells=9, seed=0):
    """Features [snippets, cells, dim] of a scene that changes a little all the time."""
    return np.random.default_rng(seed).normal(1, 0.3, (n, n_cells, 16)).astype(np.float16)


def test_a_moment_that_is_like_no_other_has_the_highest_score_at_its_cell():
    rows = rows_of(40)
    rows[20:23, 4] += 3  # an event of three snippets in one cell
    found = novelty_of(rows)
    assert set(np.argsort(found.scores)[-3:]) == {20, 21, 22}
    assert (found.scores >= 0).all()
    assert (found.scores < 1).all()
    assert found.shares[21].argmax() == 4
    assert found.shares[21].sum() == pytest.approx(1, abs=1e-5)
    assert found.doubt == ""


def test_what_happens_twice_is_less_novel_than_what_happens_once():
    rows = rows_of(60, seed=1)
    rows[10, 2] += 3
    rows[50, 2] += 3
    rows[30, 6] += 3
    scores = novelty_of(rows).scores
    assert scores[30] > scores[10]
    assert scores[30] > scores[50]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (rows_of(9), "too short for novelty to say anything: 9 of 10 snippets"),
        (rows_of(40), "too uniform for novelty to say anything: no moment stands out"),
        (np.ones((40, 9, 16), np.float16), "too uniform"),
    ],
)
def test_short_and_uniform_videos_are_told(rows, words):
    found = novelty_of(rows)
    assert words in found.doubt
    assert not found.scores.any()


def test_a_long_video_is_compared_with_a_sample_of_itself():
    rows = rows_of(3000, n_cells=2)
    rows[2000] += 3
    assert novelty_of(rows).scores.argmax() == 2000


@pytest.fixture(scope="module")
def scored(tmp_path_factory, small_run):
    """A folder without a run, in which a video of 12 snippets and one of two were scored."""
    import vad

    folder = tmp_path_factory.mktemp("novelty")
    with av.open(str(folder / "long.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(192):
            rgb = np.full((96, 160, 3), 90, np.uint8)
            rgb[20:40, (3 * number) % 140 : (3 * number) % 140 + 20] = 200
            if 80 <= number < 112:
                rgb[50:90, 40 + number % 8 * 10 :] = (250, 30, 30)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
    shutil.copy(small_run / "videos" / "v0.mp4", folder / "short.mp4")
    found = {}
    vad.score_videos(
        [folder / "long.mp4", folder / "short.mp4"],
        "novelty",
        on_scores=lambda scores: found.setdefault(scores.video, scores),
        store=folder / "features.zarr",
        quiet=True,
    )
    return folder, found


def test_every_output_says_what_the_scores_are(scored, tmp_path):
    _, found = scored
    for scores in found.values():
        assert scores.summary.endswith(MEANING)
        assert scores.to_dataframe("frames").attrs["meaning"] == MEANING
        (path,) = scores.save(tmp_path, ["json"])
        assert json.loads(path.read_text())["meaning"] == MEANING
        assert read_scores(path).meaning == MEANING
        (page,) = scores.save(tmp_path, ["html"])
        assert f"Scores are {MEANING}." in page.read_text()
    assert 64 <= found["long"].events[0].peak_frame < 128
    short = found["short"]
    assert "too short" in short.summary
    assert short.to_dataframe("frames").attrs["doubt"] == short.doubt
    assert "This video is too short for novelty" in (tmp_path / "short.html").read_text()


def test_stored_features_give_the_same_novelty(scored):
    import vad

    folder, found = scored
    again = {s.video: s for s in vad.score_store(folder / "features.zarr", "novelty")}
    assert list(again["long"].frames) == list(found["long"].frames)


def test_the_command_scores_novelty_where_there_is_no_run(vad, scored, monkeypatch, tmp_path):
    folder, _ = scored
    monkeypatch.chdir(tmp_path)
    code, out, err = vad(
        *("score", folder / "long.mp4", "--store", folder / "features.zarr", "--json", "-f", "json")
    )
    assert code == 0
    assert json.loads(out)["meaning"] == MEANING
    assert f"no finished run in runs/: {MEANING}" in err
    code, _, err = vad("score", folder / "long.mp4", "--recall", "0.9", "--detector", "novelty")
    assert code == 2
    assert re.search(r"novelty within a video knows no recall; train a run", err)
