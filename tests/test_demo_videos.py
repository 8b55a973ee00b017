"""The demo's data set: what its tables say is what its videos show."""

import csv
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.stages.pipelines.demo import videos as rendering
from vad.stages.pipelines.demo.people import chat, fight
from vad.stages.pipelines.demo.videos import (
    EVENTS,
    DemoData,
    Video,
    boxes_of,
    frames,
    plan,
    render_demo,
)

FEWEST = 10


def render_short(folder: Path) -> tuple[DemoData, list[Video]]:
    """Render videos of about a second, in place of six to eight; return them and their plan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "SHORTEST_S", 1.0)
        patch.setattr(rendering, "LONGEST_S", 1.4)
        planned = plan(FEWEST, seed=3)
        return render_demo(folder, n_videos=FEWEST, seed=3, quiet=True), planned


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoData, list[Video]]:
    return render_short(tmp_path_factory.mktemp("demo"))


def abnormal(category: str) -> Video:
    """A video with an event of a category, which ends soon after it."""
    video = next(v for v in plan(50, seed=0) if v.category == category)
    assert video.event is not None
    return replace(video, n_frames=min(video.n_frames, video.event[1] + 10))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def decoded(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 25
        pictures = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    return np.stack(pictures)


def test_videos_decode_to_the_frames_they_were_planned_with(
    short: tuple[DemoData, list[Video]],
) -> None:
    demo, planned = short
    found = {path.stem: decoded(path).shape for path in demo.videos.glob("*.mp4")}
    assert found == {video.name: (video.n_frames, 240, 320, 3) for video in planned}
    assert all(150 <= video.n_frames <= 210 for video in plan(FEWEST, seed=3))  # 6.0 to 8.4 s


def test_every_abnormal_video_and_no_other_has_a_segment_inside_it(
    short: tuple[DemoData, list[Video]],
) -> None:
    demo, planned = short
    labels = {row["video"]: row for row in rows(demo.labels)}
    segments = {row["video"]: row for row in rows(demo.segments)}
    assert labels.keys() == {path.stem for path in demo.videos.iterdir()}
    assert segments.keys() == {name for name, row in labels.items() if row["label"] == "1"}
    n_frames = {video.name: video.n_frames for video in planned}
    for name, row in segments.items():
        assert 0 < int(row["start_frame"]) < int(row["end_frame"]) <= n_frames[name]
        assert row["category"] == labels[name]["category"] in EVENTS
    assert all((row["category"] == "normal") == (row["label"] == "0") for row in labels.values())


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    short: tuple[DemoData, list[Video]], tmp_path: Path
) -> None:
    demo, _ = short
    again, _ = render_short(tmp_path)
    for path in (*sorted(demo.videos.iterdir()), demo.labels, demo.segments, demo.boxes):
        same = again.videos / path.name if path.parent == demo.videos else tmp_path / path.name
        assert path.read_bytes() == same.read_bytes(), path.name
    one, other = plan(FEWEST, seed=3)[0], plan(FEWEST, seed=4)[0]
    first = [next(frames(video, np.random.default_rng(0))) for video in (one, other)]
    assert (first[0] != first[1]).any()


@pytest.mark.parametrize("n_videos", [10, 13, 36, 50])
def test_both_classes_are_in_every_split(n_videos: int) -> None:
    videos = plan(n_videos, seed=0)
    assert len({video.name for video in videos}) == len(videos) == n_videos
    counts = Counter((video.split, video.event is not None) for video in videos)
    assert counts.keys() == set(product(("train", "val", "test"), (True, False)))
    for split in ("val", "test"):
        assert counts[split, True] in (n_videos // 10, n_videos // 10 + 1)
        assert abs(counts[split, True] - counts[split, False]) <= 1


def test_the_usual_demo_meets_every_event_in_every_split_and_is_short() -> None:
    videos = plan(50, seed=0)
    assert Counter(video.split for video in videos) == {"train": 30, "val": 10, "test": 10}
    for split in ("train", "val", "test"):
        seen = {v.category for v in videos if v.split == split}
        assert seen == {"normal", *EVENTS}
    places = [Counter(v.scene.name for v in videos if bool(v.event) is b) for b in (True, False)]
    assert places[0] == places[1]  # a place tells nothing about the label
    assert sum(video.n_frames for video in videos) < 8500


@pytest.mark.parametrize("category", ["running", "vehicle", "fire"])
def test_an_event_is_seen_in_its_frames_and_in_no_other(category: str) -> None:
    """Without the cast of the event, its frames differ, and no others."""
    video = abnormal(category)
    assert video.event is not None
    start, end = video.event
    both = (frames(v, np.random.default_rng(0)) for v in (video, replace(video, cast=())))
    differs = [(one != other).mean() for one, other in zip(*both, strict=True)]
    assert max(differs[:start] + differs[end:]) == 0
    assert np.mean(np.array(differs[start:end]) > 0.0005) > 0.9


@pytest.mark.parametrize("category", EVENTS)
def test_what_an_event_changes_lies_in_the_boxes_of_its_figures(category: str) -> None:
    """Beside the boxes, only shadows and the light of fires change the picture."""
    video = abnormal(category)
    inside = np.zeros((video.n_frames, 240, 320), bool)
    for frame, _, left, top, right, bottom in boxes_of(video):
        assert 0 <= left < right <= 320
        assert 0 <= top < bottom <= 240
        inside[frame, top:bottom, left:right] = True
    assert video.event is not None
    covered = np.asarray(inside.any((1, 2)))
    assert covered[slice(*video.event)].mean() > 0.8
    assert covered.sum() == covered[slice(*video.event)].sum()
    assert 0.01 < inside[covered].mean() < 0.3
    both = (frames(v, np.random.default_rng(0)) for v in (video, replace(video, cast=())))
    much = np.stack([np.ptp([a, b], 0).max(2) > 80 for a, b in zip(*both, strict=True)])
    assert much[inside].sum() > 0.9 * much[covered].sum() > 1000


def test_the_table_of_boxes_holds_those_of_every_event(short: tuple[DemoData, list[Video]]) -> None:
    demo, videos = short
    found = rows(demo.boxes)
    assert {row["video"] for row in found} == {row["video"] for row in rows(demo.segments)}
    planned = [(v.name, *row) for v in videos for row in boxes_of(v)]
    assert [(row["video"], *map(int, list(row.values())[1:])) for row in found] == planned


def test_who_fights_talks_before_and_after() -> None:
    before = chat((0.0, 9.0), 0.0, tempo=3.0)
    script = fight(before, 2.0, 4.0, tempo=7.0)
    assert [script(t) == before(t) for t in (1.9, 2.1, 3.9, 4.0)] == [True, False, False, True]


BACKGROUNDS = """
import hashlib
from vad.stages.pipelines.demo.scenes import SCENES, background
print(*(hashlib.sha256(background(scene).tobytes()).hexdigest() for scene in SCENES))
"""


def test_pixels_do_not_depend_on_the_processor() -> None:
    """NumPy computes them without its code for newer processors, too."""
    newer = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not newer:
        pytest.skip("NumPy has no code for this processor beyond that for all processors")
    hashes = [
        subprocess.run(
            [sys.executable, "-c", BACKGROUNDS],
            env={**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(disabled)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for disabled in ([], newer)
    ]
    assert hashes[0] == hashes[1]


def test_too_few_videos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="9 videos are too few to learn from; make at least 10"):
        render_demo(tmp_path, n_videos=9)
    assert list(tmp_path.iterdir()) == []
