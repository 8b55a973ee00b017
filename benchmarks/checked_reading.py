"""What it costs to compare everything that is read from a store with its checksum.

    python benchmarks/checked_reading.py [--videos N] [--snippets N] [--repeats N]

Reads the same store alternately in two ways: with checks, as training and scoring do, and by zarr
alone. Prints the fastest reading of each way, and their ratio.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr

from vad.names import key_of
from vad.stages.extract.records import unseen_record
from vad.stages.train.bags import segment_mean
from vad.stages.train.streams import read_each
from vad.store import FeatureStore

NAME = "visual/i3d"


def make_store(folder: Path, n_videos: int, n_snippets: int) -> FeatureStore:
    """Make a store of ten-crop features like those of I3D, of which half of the values are zero."""
    store, rng = FeatureStore.create(folder / "f.zarr"), np.random.default_rng(0)
    for number in range(n_videos):
        rows = np.maximum(rng.standard_normal((n_snippets, 10, 2048)), 0).astype(np.float16)
        draft = store.draft(f"v{number}")
        draft.append(NAME, rows)
        path, n_frames = Path(f"v{number}.mp4"), 16 * n_snippets
        record = unseen_record(path, n_frames, 25.0, "repeat-last", decoder="none")
        draft.commit(record, np.arange(n_frames) / 25, {NAME: {}})
    return store


def read_checked(store: FeatureStore) -> None:
    """Read all videos as `vad train` does when it packs a store."""
    for streams in read_each(store, {"visual": NAME}, store.ids()):
        segment_mean(streams["visual"], 32)


def read_plainly(store: FeatureStore) -> None:
    """Read all videos by zarr alone, without checks, one array after the other."""
    for video in store.ids():
        array = zarr.open_array(str(store.path / key_of(video) / NAME), mode="r")
        segment_mean(np.asarray(array[:]), 32)


def seconds(read: Callable[[FeatureStore], None], store: FeatureStore) -> float:
    """Return the seconds that one reading takes."""
    started = time.perf_counter()
    read(store)
    return time.perf_counter() - started


def main() -> None:
    """Run the benchmark and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--snippets", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder), args.videos, args.snippets)
        turns = [
            (seconds(read_plainly, store), seconds(read_checked, store))
            for _ in range(args.repeats)
        ]
        plain, checked = (min(turn[i] for turn in turns) for i in (0, 1))
    megabytes = args.videos * args.snippets * 10 * 2048 * 2 / 1e6
    print(f"{megabytes:.0f} MB: zarr alone {plain:.3f} s, checked {checked:.3f} s")
    print(f"ratio {checked / plain:.3f}")


if __name__ == "__main__":
    main()
