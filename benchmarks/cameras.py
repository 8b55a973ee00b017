"""How many cameras a core carries, and what an hour of video costs.

    python benchmarks/cameras.py --json OUT                                # half an hour
    python benchmarks/cameras.py --minutes 60 --json OUT                   # an hour
    python benchmarks/cameras.py --seconds 3 9 --live 5 --recipes parts    # does it work?

The videos are rendered here, 320x240, and count as 30 frames a second. Every process has one
thread.

cameras
    CPU seconds that `vad stream` takes for a second of video, decoding and detector included. Their
    inverse is the number of cameras that a core carries. `parts`: the default features with the
    members topk:A and topk:C, networks compiled; `default`: with all members. `former`: the former
    default, efficientnet-lite0 by eager PyTorch with rtfm. Then as many streams run on one core at
    the speed of cameras, fewer until none drops a clip (`live`).
hours
    CPU seconds and disk of an hour of video, extracted by each recipe. Half precision of random
    weights is packed about as well as that of others.
detectors
    CPU seconds of a detector for the score of the newest clip, on 64 snippets of 1,774 features, or
    for `normality` on cells, of which it sees a snippet and its neighbour.
long
    With --minutes: disk, CPU seconds and peak memory of extracting a video of that length, and one
    of a tenth of it.

CPU seconds are differences between two lengths of video, so that starting up does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from memory import write_long
from processes import watch

import vad
from vad.files import write_json
from vad.stages.pipelines.demo.videos import FPS as RENDERED_FPS
from vad.stages.pipelines.demo.videos import LEAST_VIDEOS, LONGEST_S, DemoData, render_demo
from vad.stages.train.detectors import create_detector

FPS = 30  # as which frames count
LONGEST = round(LONGEST_S * RENDERED_FPS)  # frames of a rendered video, at most
ALONE = ("topk", "sultani", "mil", "pel4vad", "bnwvad", "urdmu", "saa", "mgfn", "rtfm", "vadclip")
PARTS: dict[str, Any] = {"backbone": "efficientnet-lite0-parts"}
RECIPES: dict[str, dict[str, Any]] = {
    "parts": PARTS,
    "parts-places-flow": PARTS | {"places": "flow"},
    "parts-places-none": PARTS | {"places": "none"},
    "efficientnet-lite0": {"backbone": "efficientnet-lite0"},
    "i3d-inception": {"backbone": "i3d-inception", "weights": "random:0"},
    "i3d": {"backbone": "i3d", "weights": "random:0"},
}


@dataclass(frozen=True)
class Way:
    """A way to watch cameras: features, training and engine."""

    extract: dict[str, Any]
    train: dict[str, Any]
    engine: str


WAYS = {
    "parts": Way(PARTS, {"member": ("topk:A", "topk:C")}, "openvino"),
    "default": Way(PARTS, {"purpose": "streams"}, "openvino"),
    "former": Way(RECIPES["efficientnet-lite0"], {"detector": "rtfm", "epochs": 1}, "pytorch"),
}


def main() -> None:
    """Run the benchmark and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--seconds", nargs=2, type=float, default=(10, 40), metavar=("SHORT", "LONG")
    )
    parser.add_argument("--live", type=float, default=60, help="seconds of live streams; 0: none")
    parser.add_argument("--recipes", nargs="*", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--minutes", type=float, help="of a long video")
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--extract", nargs=3, metavar=("VIDEO", "STORE", "SETTINGS"))
    parser.add_argument("--watch", nargs=4, metavar=("VIDEO", "RUN", "FRAMES", "SPEED"))
    given = parser.parse_args()
    if given.extract:
        video, store, settings = given.extract
        vad.extract(video, store, workers=1, quiet=True, **json.loads(settings))
        print(json.dumps({"cpu_s": cpu_seconds()}))
    elif given.watch:
        video, run, n_frames, speed = given.watch
        print(json.dumps(watched(video, run, int(n_frames), float(speed))))
    else:
        measure(given)


def measure(given: argparse.Namespace) -> None:
    figures: dict[str, Any] = {"cameras": {}, "hours": {}, "detectors": detectors()}
    print(figures["detectors"])
    n_frames = [round(FPS * seconds) for seconds in given.seconds]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = render_demo(folder / "data", n_videos=LEAST_VIDEOS, quiet=True)
        video = next(iter(sorted(data.videos.iterdir())))
        for name, way in WAYS.items():
            figures["cameras"][name] = cameras(way, data, folder / name, n_frames, given.live)
            print(name, figures["cameras"][name])
        for name in given.recipes:
            figures["hours"][name] = an_hour(
                RECIPES[name], video, folder / f"{name}.zarr", n_frames
            )
            print(name, figures["hours"][name])
        if given.minutes:
            lengths = [given.minutes / 10, given.minutes]
            stores = [folder / f"long{i}.zarr" for i in range(2)]
            runs = [
                extracted(PARTS, video, store, round(60 * FPS * minutes))
                for store, minutes in zip(stores, lengths, strict=True)
            ]
            figures["long"] = [{"minutes": m} | run for m, run in zip(lengths, runs, strict=True)]
            print(*figures["long"], sep="\n")
    if given.json:
        write_json(given.json, figures)


# --- cameras


def cameras(
    way: Way, data: DemoData, folder: Path, n_frames: list[int], live_s: float
) -> dict[str, Any]:
    """Return what a second of video costs, how many cameras that lets a core carry, and how many
    streams it did carry.
    """
    os.environ["VAD_ENGINE"] = way.engine
    store, run = folder / "s.zarr", folder / "run"
    vad.extract(data.videos, store, quiet=True, **way.extract)
    vad.train(store, data.labels, run, quiet=True, **way.train)
    video = str(next(iter(sorted(data.videos.iterdir()))))

    def cpu_s(n: int) -> tuple[float, int]:
        found, _ = child("--watch", video, str(run), str(n), "0")
        return found["cpu_s"], found["n_frames"]

    per_second = FPS * per_frame(cpu_s, n_frames)
    found: dict[str, Any] = {
        "cpu_s_per_second": per_second,
        "cameras": 1 / per_second,
        "live": None,
    }
    for n in range(max(1, int(1 / per_second)), 0, -1):
        if live_s and (ended := live(n, video, str(run), live_s)):
            found["live"] = {"cameras": n, "latency_s": max(e["latency_s"]["p95"] for e in ended)}
            break
    return found


def live(n: int, video: str, run: str, seconds: float) -> list[dict[str, Any]]:
    """Run n streams at once on one core at the speed of cameras. Return their last lines, or
    nothing if one of them dropped a clip.
    """
    core = min(os.sched_getaffinity(0))
    command = [sys.executable, __file__, "--watch", video, run, str(round(FPS * seconds))]
    streams = [
        subprocess.Popen(
            [*command, str(FPS / RENDERED_FPS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        for _ in range(n)
    ]
    for stream in streams:  # each says that it has loaded its networks
        assert stream.stdout
        stream.stdout.readline()
    outputs = []
    for stream in streams:
        assert stream.stdin
        stream.stdin.write("go\n")
        stream.stdin.flush()
    for stream in streams:
        outputs.append(json.loads(stream.communicate()[0]))
    return [] if any(output["n_dropped"] for output in outputs) else outputs


def watched(video: str, run: str, n_frames: int, speed: float) -> dict[str, Any]:
    """Watch a looped video in this process until that many frames came; return what its last line
    says, with CPU seconds and frames.
    """
    stop, seen = threading.Event(), 0
    lines = vad.stream(video, run, stop=stop, speed=speed, loop=True, quiet=True)
    end = next(lines)
    if speed:
        print("ready", flush=True)
        sys.stdin.readline()
    for end in lines:
        seen = max(seen, int(str(end.get("end_frame", 0))))
        if seen >= n_frames or (
            speed and float(str(end.get("end_s", 0))) * RENDERED_FPS >= n_frames
        ):
            stop.set()
    return end | {"cpu_s": cpu_seconds(), "n_frames": seen}


@torch.inference_mode()
def detectors() -> dict[str, float]:
    """Return CPU seconds of each detector that reads one array of features."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    bank = {
        "bank": rng.standard_normal((10_000, 247)).astype(np.float32),
        "cells": rng.integers(0, 49, (10_000, 1)).astype(np.float32),
    }
    of: dict[str, tuple[dict[str, Any], dict[str, Any], int, tuple[int, int]]]
    of = {name: ({}, {}, 1774, (1, 64)) for name in ALONE}
    of |= {
        "normality": ({}, bank, 247, (49, 2)),
        "normality near": ({"reach": 1}, bank, 247, (49, 2)),
    }
    found = {}
    for name, (own, arrays, dim, size) in of.items():
        detector = create_detector(
            name.split()[0], visual_dim=dim, settings=own or None, arrays=arrays
        ).eval()
        features = torch.randn(1, *size, dim)
        detector(features)
        began = time.process_time()
        for _ in range(5):
            detector(features)
        found[name] = (time.process_time() - began) / 5
    return found


# --- an hour of video


def an_hour(
    settings: dict[str, Any], video: Path, store: Path, n_frames: list[int]
) -> dict[str, float]:
    """Return CPU seconds and megabytes on disk of an hour of video."""
    os.environ["VAD_ENGINE"] = "openvino"
    # the video is repeated as a whole, and the longer one has at least one more round
    n_frames = [n_frames[0], max(n_frames[1], n_frames[0] + 2 * LONGEST)]
    made: dict[int, dict[str, float]] = {}

    def cpu_s(n: int) -> tuple[float, int]:
        made[n] = extracted(settings, video, store.with_name(f"{n}-{store.name}"), n)
        return made[n]["cpu_s"], round(made[n]["n_frames"])

    cost = per_frame(cpu_s, n_frames)
    short, long = (made[n] for n in n_frames)
    per_mb = (long["disk_mb"] - short["disk_mb"]) / (long["n_frames"] - short["n_frames"])
    return {"cpu_s": 3600 * FPS * cost, "disk_mb": 3600 * FPS * per_mb}


def extracted(
    settings: dict[str, Any], video: Path, store: Path, n_frames: int
) -> dict[str, float]:
    """Extract the video, looped to a number of frames; return what it took."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        n_frames = write_long(path, n_frames / RENDERED_FPS, video)
        found, peak_bytes = child("--extract", str(path), str(store), json.dumps(settings))
    n_bytes = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    return {
        "n_frames": n_frames,
        "cpu_s": found["cpu_s"],
        "disk_mb": n_bytes / 1e6,
        "peak_gb": peak_bytes / 1e9,
    }


# --- CPU seconds


def per_frame(cpu_s: Callable[[int], tuple[float, int]], n_frames: list[int]) -> float:
    """Return the CPU seconds of a frame, from those of two lengths. cpu_s: from the number of
    frames to the CPU seconds that they took and the number of frames that came.
    """
    cpu_s(n_frames[0])  # compiles networks and warms up caches
    (short_s, n_short), (long_s, n_long) = (cpu_s(n) for n in n_frames)
    return (long_s - short_s) / (n_long - n_short)


def child(*arguments: str) -> tuple[dict[str, Any], int]:
    """Run a part of this benchmark in a process of its own; return what it prints, and the peak
    memory of its process tree in bytes.
    """
    printed, peak_bytes = watch([sys.executable, __file__, *arguments])
    return json.loads(printed), peak_bytes


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
