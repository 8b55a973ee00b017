"""The clip grid: how frames become snippets and back."""

import tracemalloc
from typing import get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vad.errors import InternalError, UsageError
from vad.grid import CLIP_FRAMES, MOST_HELD, SAMPLINGS, TAILS, ClipCutter, ClipGrid, Sampling
from vad.stages.extract.settings import ExtractSettings


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


# --- any dilation and stride: each rule again, frame by frame


@st.composite
def samplings(draw):
    """Samplings that hold few frames, with clips that overlap, meet, or leave gaps."""
    dilation = draw(st.integers(1, 6))
    stride = draw(st.integers(-(-Sampling(dilation).span // 16), 200))
    return Sampling(dilation, stride, draw(st.none() | st.integers(1, 12)))


grids = st.builds(ClipGrid, st.sampled_from(TAILS), samplings())
lengths = st.integers(1, 500)
unhurried = settings(deadline=None, max_examples=60)


def starts_one_by_one(grid, n_frames):
    """The first frame of each clip, found by going through the video."""
    span, found, start = 15 * grid.sampling.dilation + 1, [], 0
    while start < n_frames:
        if grid.tail == "drop" and start + span > n_frames:
            break
        found.append(start)
        if start + span >= n_frames:
            break
        start += grid.sampling.stride
    most = grid.sampling.max_clips
    if most is None or len(found) <= most:
        return found
    return [found[i * (len(found) - 1) // max(1, most - 1)] for i in range(most)]


def numbered(n_frames):
    """Frames of 1x1 px that carry their number in two of their colours."""
    numbers = np.arange(n_frames)
    return np.stack([numbers // 256, numbers % 256, 0 * numbers], -1)[:, None, None].astype("u1")


def numbers_of(clip):
    return (256 * clip[:, 0, 0, 0].astype(int) + clip[:, 0, 0, 1]).tolist()


@unhurried
@given(grids, lengths)
def test_clips_are_where_going_through_the_video_puts_them(grid, n_frames):
    starts, span = starts_one_by_one(grid, n_frames), 15 * grid.sampling.dilation + 1
    assert grid.starts(n_frames).tolist() == starts
    assert grid.n_snippets(n_frames) == len(starts)
    frames = [grid.frames_of(i, n_frames) for i in range(len(starts))]
    assert frames == [(start, min(n_frames, start + span)) for start in starts]
    assert grid.end_of_clips(n_frames) == (starts[-1] + span if starts else 0)
    for start, stop in (
        (0, n_frames),
        (n_frames // 3, n_frames // 3 + 5),
        (n_frames - 1, n_frames),
    ):
        if frames:
            inside = [i for i, (a, b) in enumerate(frames) if a < stop and start < b]
            first, until = grid.snippets_in(start, stop, n_frames)
            nearest = int(grid.snippet_of_frames(n_frames)[start])
            assert list(range(first, until)) == (inside or [nearest])
    times = np.arange(n_frames) ** 1.5
    for i, (start, stop) in enumerate(frames):
        end_s = times[stop] if stop < n_frames else 1e6
        assert grid.seconds(i, times, 1e6) == (times[start], end_s)


@unhurried
@given(grids, lengths, st.lists(st.integers(1, 90), max_size=20))
def test_clips_hold_frames_so_far_apart_however_the_video_is_cut_into_blocks(grid, n_frames, cuts):
    blocks = np.split(numbered(n_frames), np.cumsum(cuts))
    expected = []
    for start in starts_one_by_one(grid, n_frames):
        own = [f for f in range(start, start + 16 * grid.sampling.dilation, grid.sampling.dilation)]
        there = [f for f in own[:CLIP_FRAMES] if f < n_frames]
        filled = there * 16 if grid.tail == "loop" else there + [there[-1]] * 16
        expected.append(filled[:CLIP_FRAMES])
    found = grid.clips((block for block in blocks if len(block)), n_frames)
    assert [numbers_of(clip) for clip in found] == expected


@unhurried
@given(grids, lengths, st.integers(0, 2**32 - 1))
def test_a_frame_has_the_mean_score_of_its_snippets_or_that_of_the_nearest(grid, n_frames, seed):
    starts, span = starts_one_by_one(grid, n_frames), 15 * grid.sampling.dilation + 1
    if not starts:
        return
    scores = np.random.default_rng(seed).random(len(starts))
    spread, snippets = grid.spread(scores, n_frames), grid.snippet_of_frames(n_frames)
    assert set(snippets.tolist()) == set(range(len(starts)))  # every snippet has frames
    for frame in range(n_frames):
        apart = [abs(start + (span - 1) / 2 - frame) for start in starts]
        nearest = apart.index(min(apart))
        covering = [i for i, start in enumerate(starts) if start <= frame < start + span]
        assert snippets[frame] == nearest
        assert nearest in covering or not covering
        assert spread[frame] == pytest.approx(np.mean(scores[covering or [nearest]]), abs=1e-12)
    assert scores.min() <= spread.min() <= spread.max() <= scores.max()


@unhurried
@given(st.builds(ClipGrid, st.sampled_from(TAILS), samplings()), lengths)
def test_a_source_without_a_length_gives_every_clip(grid, n_frames):
    every = ClipGrid(grid.tail, Sampling(grid.sampling.dilation, grid.sampling.stride))
    found = [numbers_of(clip) for clip in grid.clips([numbered(n_frames)])]
    assert found == [numbers_of(clip) for clip in every.clips([numbered(n_frames)])]


def test_the_default_is_the_grid_of_all_earlier_stores():
    grid = ClipGrid("drop", Sampling())
    assert grid == ClipGrid("drop")
    assert grid.sampling.provenance() == {}
    assert str(grid.sampling) == "16 frames consecutive, a clip every 16"
    assert [grid.frames_of(i, 40) for i in range(2)] == [(0, 16), (16, 32)]


def test_scores_of_overlapping_snippets_are_averaged_in_their_own_type():
    scores = np.array([0.2, 0.4, 0.9], np.float32)
    spread = ClipGrid(sampling=Sampling(stride=8)).spread(scores, 32)
    assert spread.dtype == np.float32
    assert spread.tolist() == pytest.approx([0.2] * 8 + [0.3] * 8 + [0.65] * 8 + [0.9] * 8)


def test_the_published_sampling_takes_500_clips_evenly_spread():
    grid = SAMPLINGS["timesformer-mil"]
    assert str(grid.sampling) == "16 frames 5 apart, a clip every 64, at most 500 clips"
    assert [grid.n_snippets(n) for n in (75, 76, 139, 140, 76 + 64 * 499, 10**6)] == [
        *(0, 1, 1, 2, 500, 500)
    ]
    n_clips = 1 + (10**6 - 76) // 64
    evenly = np.linspace(0, n_clips - 1, 500).astype(int) * 64  # as that pipeline chooses them
    assert np.abs(grid.starts(10**6) - evenly).max() <= 64  # rounding of a whole number
    assert (grid.starts(10**6) == evenly).mean() > 0.99
    assert {*SAMPLINGS} == {*get_type_hints(ExtractSettings)["sampling"].__args__[0].__args__}


@pytest.mark.parametrize("sampling", [Sampling(5, 64), Sampling(1, 8), Sampling(16, 16)])
def test_a_long_video_takes_no_more_memory_than_its_unfinished_clips(sampling):
    frame = np.zeros((1, 100, 100, 3), np.uint8)
    cutter = ClipCutter(ClipGrid(sampling=sampling))
    for _ in range(300):
        list(cutter.add(frame))
    tracemalloc.start()
    for _ in range(1500):
        list(cutter.add(frame))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < (sampling.n_held + CLIP_FRAMES + 4) * frame.nbytes
    assert sampling.n_held <= MOST_HELD


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"dilation": 0}, "dilation is 0, expected 1 to 1,000,000"),
        ({"stride": -1}, "stride is -1, expected"),
        ({"max_clips": 0}, "max_clips is 0, expected"),
        ({"dilation": 300, "stride": 1}, "would keep 4,501 frames in memory, more than 256"),
    ],
)
def test_a_sampling_out_of_range_is_refused(values, said):
    with pytest.raises(ValueError, match=said):
        Sampling(**values)
