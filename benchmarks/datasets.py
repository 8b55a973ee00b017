"""The data sets of `detect.py`: each is a function that makes a store, and a row of `DATA_SETS`."""

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
    """What a detector is trained and measured on."""

    store: Path
    labels: Path  # with folds, each is held out once; else their `split` says what is for testing
    segments: Path
    settings: Mapping[str, Any] = field(default_factory=dict)  # of training, what the data ask for
    detector: str = "rtfm"  # measured where none is named


# Where the store is to be made, if it is not there yet -> the data set.
Prepare = Callable[[Path], DataSet]


def videos_of(name: str) -> Prepare:
    """A folder of real videos with labels, extracted with the embedded backbone."""

    def prepare(store: Path) -> DataSet:
        extract(DATA / name / "videos", store)
        return DataSet(store, DATA / name / "labels.csv", DATA / name / "segments.csv")

    return prepare


def captioned(name: str, **streams: str) -> Prepare:
    """The same videos with captions of the embedded captioner, and the streams to read of them.

    Several such data sets share one store, `<name>.zarr` beside the one that is asked for.
    """

    def prepare(store: Path) -> DataSet:
        data = videos_of(name)(store.with_name(f"{name}.zarr"))
        caption(data.store, captioner="labels", encoder="minilm")
        return replace(data, settings=streams)

    return prepare


def ucf_captions(store: Path) -> DataSet:
    """UCF-Crime by what people wrote of it (UCA): no videos, 1,568 for training, 286 for testing.

    The writers saw the videos: figures of this data set are never to be set beside published ones.
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
    return DataSet(store, labels, segments, detector="topk")  # the plain way is enough for it


def rendered(store: Path) -> DataSet:
    """The videos of `vad demo`, to be had anywhere: 30 to train, 10 to validate, 10 to test."""
    data = render_demo(store.with_name("rendered"))
    extract(data.videos, store)
    return DataSet(store, data.labels, data.segments)


DATA_SETS: dict[str, Prepare] = {
    "rendered": rendered,
    "ped2": videos_of("ped2"),
    "fight": videos_of("fight"),
    "fight-text": captioned("fight", text="minilm"),
    "fight-both": captioned("fight", visual="efficientnet-lite0", text="minilm"),
    "ucf-captions": ucf_captions,
}
