"""What it costs to compare everything that is read from a store with its checksums.

    python benchmarks/checked_reading.py [--videos N] [--snippets N] [--repeats N]

Reads the same store alternately as it is now and as it was before there were checks, for training
and for scoring. Before, zarr alone read an array, and training pooled it with NumPy's conversion of
float16. Prints the medians and their ratio: CPU seconds of all threads, which other work on the
machine changes less than the time that passes, and that time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from vad.names import key_of
from vad.stages.extract.records import unseen_record
from vad.stages.train.bags import segment_mean
from vad.stages.train.streams import read_each, read_streams
from vad.store import FeatureStore, Provenance

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
        draft.commit(record, np.arange(n_frames) / 25, {NAME: Provenance({})})
    return store


def train(store: FeatureStore) -> None:
    """Read and pool all videos as `vad train` does when it packs a store."""
    for streams in read_each(store, {"visual": NAME}, store.ids()):
        segment_mean(streams["visual"], 32)


def train_before(store: FeatureStore) -> None:
    """Read all videos without checks, and pool them as before there were checks."""
    for rows in _plain(store):
        edges = np.linspace(0, len(rows), 33).astype(np.int64)
        sums = np.add.reduceat(rows.astype(np.float32), edges[:-1], axis=0)
        np.asarray(sums / np.diff(edges).reshape(-1, 1, 1), np.float32)


def score(store: FeatureStore) -> None:
    """Read all videos as `vad score --store` does."""
    for video in store.ids():
        read_streams(store, {"visual": NAME}, video)


def score_before(store: FeatureStore) -> None:
    """Read all videos without checks."""
    for _ in _plain(store):
        pass


def _plain(store: FeatureStore) -> Iterator[NDArray[np.float16]]:
    for video in store.ids():
        array = zarr.open_array(str(store.path / key_of(video) / NAME), mode="r")
        yield np.asarray(array[:])


# by what a store is read for: how it is read now, and how it was read before there were checks
WAYS = {"training": (train, train_before), "scoring": (score, score_before)}


def seconds(read: Callable[[FeatureStore], None], store: FeatureStore) -> tuple[float, float]:
    """Return the CPU seconds that one reading takes, and the seconds that pass."""
    cpu, passed = time.process_time(), time.perf_counter()
    read(store)
    return time.process_time() - cpu, time.perf_counter() - passed


def main() -> None:
    """Run the benchmark and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--snippets", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder), args.videos, args.snippets)
        print(f"{args.videos * args.snippets * 10 * 2048 * 2 / 1e6:.0f} MB")
        for purpose, ways in WAYS.items():
            turns = [[seconds(read, store) for read in ways] for _ in range(args.repeats)]
            for unit, what in enumerate(("CPU seconds", "seconds passed")):
                now, before = (
                    statistics.median(turn[way][unit] for turn in turns) for way in range(2)
                )
                print(f"{purpose}, {what}: {now:.3f}, before {before:.3f} ({now / before:.3f})")


if __name__ == "__main__":
    main()
