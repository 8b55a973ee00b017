"""The data sets of `detect.py`: a function makes the store of each; `DATA_SETS` lists them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vad import caption, extract
from vad.datasets import read_dataset
from vad.labels import write_labels, write_segments
from vad.stages.pipelines.demo.videos import render_demo
from vad.store import FeatureStore

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("VAD_TEST_DATA", ROOT.parent / "shared" / "data"))


@dataclass(frozen=True)
class DataSet:
    """A data set on which a detector is trained and measured."""

    store: Path
    labels: Path  # each fold is held out once; without folds, `split` names the test videos
    segments: Path
    videos: Path | None = None
    settings: Mapping[str, Any] = field(
        default_factory=dict
    )  # training settings that this data set needs
    detector: str = "default"  # the detector to measure by default


# From the path of the store, which is made if it does not exist, to the data set.
Prepare = Callable[[Path], DataSet]


def videos_of(name: str) -> Prepare:
    """Return the `Prepare` of a folder of real, labelled videos; the packaged backbone extracts
    them.
    """

    def prepare(store: Path) -> DataSet:
        extract(DATA / name / "videos", store)
        return DataSet(
            store, DATA / name / "labels.csv", DATA / name / "segments.csv", DATA / name / "videos"
        )

    return prepare


def captioned(name: str, **streams: str) -> Prepare:
    """Return the `Prepare` of the same videos with captions of the packaged captioner.

    streams: the arrays to train on. Data sets of the same name share one store, `<name>.zarr`.
    """

    def prepare(store: Path) -> DataSet:
        data = videos_of(name)(store.with_name(f"{name}.zarr"))
        caption(data.store, captioner="labels", encoder="minilm")
        return replace(data, settings=streams)

    return prepare


def ucf_captions(store: Path) -> DataSet:
    """Make UCF-Crime from written captions (UCA), without videos: 1,568 to train, 286 to test.

    The writers saw the videos, so figures of this data set must not be compared with published
    ones.
    """
    folder = DATA / "ucf-crime"
    caption(
        store,
        captioner=f"file:{folder}/UCA_*.json",
        encoder="minilm",
        frames=str(folder / "test_frames.csv"),
    )
    annotated, videos = read_dataset("ucf-crime", folder), set(FeatureStore.open(store).ids())
    labels, segments = store.parent / "ucf-labels.csv", store.parent / "ucf-segments.csv"
    write_labels(labels, [label for label in annotated.labels if label.video in videos])
    write_segments(segments, [part for part in annotated.segments if part.video in videos])
    return DataSet(
        store, labels, segments, detector="topk"
    )  # a simple detector suffices for this data set


def rendered(store: Path) -> DataSet:
    """Make the videos of `vad demo`, which need no download: 30 train, 10 validate, 10 test."""
    data = render_demo(store.with_name("rendered"))
    extract(data.videos, store)
    return DataSet(store, data.labels, data.segments, data.videos)


DATA_SETS: dict[str, Prepare] = {
    "rendered": rendered,
    "ped2": videos_of("ped2"),
    "fight": videos_of("fight"),
    "fight-text": captioned("fight", text="minilm"),
    "fight-both": captioned("fight", visual="efficientnet-lite0-parts", text="minilm"),
    "ucf-captions": ucf_captions,
}
