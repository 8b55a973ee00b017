"""What a feature store in an object store costs: the requests, and the time with a given latency.

    python benchmarks/buckets.py --videos 100 --latency-ms 30

A server on this machine speaks the S3 protocol; every request is delayed as if the server was far
away. Requests are counted where s3fs sends them, so the counts do not depend on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from vad.stages.extract.records import unseen_record
from vad.store import ARRAYS_AT_ONCE, FeatureStore, Provenance
from vad.store.verify import verify

ADDRESS = "s3://bucket/features.zarr"
RECORD = unseen_record(Path("none"), 7_200, 30.0, "repeat-last", decoder="none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=100, help="in the store")
    parser.add_argument("--latency-ms", type=float, default=30.0, help="of a request")
    args = parser.parse_args()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    os.environ["VAD_CACHE"] = tempfile.mkdtemp(prefix="vad-buckets-")
    S3FileSystem().mkdir("bucket")
    measure = Meter(args.latency_ms / 1e3)
    rows = [measure(name, n, work) for name, n, work in tasks(args.videos)]
    server.stop()
    print(json.dumps({"latency_ms": args.latency_ms, "videos": args.videos, "tasks": rows}))


def tasks(n_videos: int) -> list[tuple[str, int, Callable[[], Any]]]:
    """Return the tasks to measure, in order: name, number of items, function."""
    store = FeatureStore.create(ADDRESS)
    features = np.ones((450, 10, 2048), np.float16)  # of a four-minute video, I3D
    ids = [f"video {number:05d}" for number in range(n_videos)]
    array = "visual/i3d"

    def commit(videos: list[str], rows: np.ndarray[Any, Any]) -> None:
        for video in videos:
            commit_one(video, rows)

    def commit_one(video: str, rows: np.ndarray[Any, Any]) -> None:
        draft = store.draft(video)
        draft.append(array, rows)
        record = replace(RECORD, n_frames=16 * len(rows), duration_s=16 * len(rows) / 30)
        draft.commit(
            record, np.arange(record.n_frames) / 30, {array: Provenance.of({"backbone": "i3d"})}
        )

    def claim(videos: list[str]) -> None:
        for video in videos:
            claims.take(video)
            claims.release(video)

    claims = store.backend.claims()
    return [
        ("claim a video and let it go", 10, lambda: claim(ids[:10])),
        ("store a video of 8 chunks", 4, lambda: commit(ids[:4], features)),
        ("store a short video", n_videos - 4, lambda: commit(ids[4:], features[:4])),
        ("list the videos", 1, store.ids),
        ("list the arrays of all videos", n_videos, lambda: store.having(array)),
        ("settings of all videos", n_videos, lambda: store.provenance(array)),
        ("records of all videos", n_videos, lambda: list(store.map(store.record, ids))),
        (
            "read the videos of 8 chunks",
            4,
            lambda: list(store.map(read_of(store, array), ids[:4], at_once=ARRAYS_AT_ONCE)),
        ),
        ("verify", n_videos, lambda: verify(ADDRESS, quiet=True)),
    ]


def read_of(store: FeatureStore, array: str) -> Callable[[str], float]:
    """Return a function that reads an array of a video and keeps only one value."""
    return lambda video: float(store.read(video, array)[0, 0, 0])


class Meter:
    """Counts the requests of a task and measures its time."""

    def __init__(self, latency_s: float) -> None:
        self._counts: Counter[str] = Counter()
        original = S3FileSystem._call_s3

        async def call(file_system: Any, method: str, *args: Any, **kwargs: Any) -> Any:
            self._counts[method] += 1
            await asyncio.sleep(latency_s)
            return await original(file_system, method, *args, **kwargs)

        S3FileSystem._call_s3 = call

    def __call__(self, name: str, n: int, work: Callable[[], Any]) -> dict[str, Any]:
        self._counts.clear()
        started = time.perf_counter()
        work()
        took_s = time.perf_counter() - started
        total = sum(self._counts.values())
        return {
            "task": name,
            "n": n,
            "requests_each": round(total / n, 2),
            "seconds": round(took_s, 2),
            "requests": dict(self._counts),
        }


if __name__ == "__main__":
    main()
