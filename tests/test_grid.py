"""The clip grid: how frames become snippets and back."""

import numpy as np
import pytest

from vad.errors import InternalError, UsageError
from vad.grid import ClipGrid


@pytest.mark.parametrize("n_frames", range(1, 51))
@pytest.mark.parametrize("tail", ["repeat-last", "loop", "drop"])
def test_counts_of_snippets_padding_and_frame_scores(n_frames, tail):
    grid = ClipGrid(tail)
    frames = np.arange(n_frames, dtype=np.uint8).reshape(-1, 1, 1, 1)
    clips = list(grid.clips([frames]))
    whole, rest = divmod(n_frames, 16)
    assert len(clips) == grid.n_snippets(n_frames) == whole + (rest > 0 and tail != "drop")
    assert all(clip.shape == (16, 1, 1, 1) for clip in clips)
    if clips:
        scores = grid.spread(np.arange(len(clips)), n_frames)
        assert len(scores) == n_frames
        assert [scores[i] for i in (0, min(15, n_frames - 1))] == [0, 0]


@pytest.mark.parametrize(
    ("tail", "last_clip"),
    [
        ("repeat-last", [16, 17, 18] + [18] * 13),
        ("loop", [16, 17, 18] * 5 + [16]),
    ],
)
def test_the_tail_policy_fills_the_last_clip(tail, last_clip):
    frames = np.arange(19, dtype=np.uint8).reshape(-1, 1, 1, 1)
    *_, last = ClipGrid(tail).clips([frames])
    assert last.ravel().tolist() == last_clip


def test_clips_do_not_depend_on_how_the_stream_is_cut_into_blocks():
    frames = np.arange(40 * 6, dtype=np.uint8).reshape(40, 1, 2, 3)
    blocks = [frames[:7], frames[7:8], frames[8:33], frames[33:]]
    whole, cut = ClipGrid().clips([frames]), ClipGrid().clips(blocks)
    assert [c.tolist() for c in whole] == [c.tolist() for c in cut]


def test_every_frame_takes_the_score_of_its_snippet():
    scores = ClipGrid().spread(np.array([0.1, 0.9, 0.5]), 34)
    assert scores.tolist() == [0.1] * 16 + [0.9] * 16 + [0.5] * 2


def test_frames_of_a_dropped_tail_take_the_last_score():
    assert ClipGrid("drop").spread(np.array([0.1, 0.9]), 34).tolist() == [0.1] * 16 + [0.9] * 18


def test_scores_that_do_not_fit_the_frames_are_refused():
    with pytest.raises(InternalError, match="34 frames make 3 snippets .* there are 2 scores"):
        ClipGrid().spread(np.array([0.1, 0.9]), 34)


def test_seconds_come_from_presentation_times_not_from_a_rate():
    times = np.array([0.0] * 16 + [10.0] * 4)  # a camera that slept
    grid = ClipGrid()
    assert grid.seconds(0, times, 12.0) == (0.0, 10.0)
    assert grid.seconds(1, times, 12.0) == (10.0, 12.0)
    assert grid.frames_of(1, 20) == (16, 20)
    assert grid.snippet_of_frames(20).tolist() == [0] * 16 + [1] * 4


def test_an_unknown_tail_policy_is_refused():
    with pytest.raises(UsageError, match="no tail policy named 'wrap'"):
        ClipGrid("wrap")
