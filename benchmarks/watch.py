"""`vad watch` on four looped RTSP cameras: dropped clips, latency, memory, alerts, and failures.

    python benchmarks/watch.py [--minutes 10] [--fps 10] [--run RUN] [--json OUT]

Renders footage of the four scenes of `vad demo`, trains a run on the videos of the demo unless
`--run` names one, and calibrates it for each camera. `tests/rtsp_server.py` serves half a minute of
each in a loop, with a planted event in it, of another kind at each camera. `vad watch` runs as a
process of its own, and sends its alerts to a webhook and an MQTT broker in this process
(`tests/alert_receiver.py`). After two fifths of the time a camera is pulled for five seconds; after
three fifths `vad watch` is ended by kill -9 and started again.

Printed are: clips scored and dropped, latency until a score is known, seconds from there until the
webhook and the broker had the alert, planted events and how many of them an alert overlaps, by
camera, other alerts, alerts that were sent again (with the same id), events that have no end, and
the memory of the process tree per minute.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from itertools import count, islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stream import memory_bytes, memory_figures

import vad
from vad.stages.pipelines.demo.scenes import SCENES
from vad.stages.pipelines.demo.videos import (
    EVENTS,
    FPS,
    cast_video,
    encode,
    frames,
    render_demo,
)

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))
from alert_receiver import Receiver  # type: ignore[import-not-found]  # noqa: E402  # of the tests

LOOP_S, ORDINARY_S = 30, 60  # length of what is watched and of what a camera is calibrated on
PLANTED_FROM_S = 12  # the first video with an event begins then, or when the one before it ends
SAMPLE_EVERY_S = 1.0

Span = tuple[float, float]  # seconds


def ordinary(scene: int, fps: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of ordinary footage of a scene."""
    for clip in count():
        yield from clip_of(scene, "normal", fps, clip)[0]


def looped(scene: int, fps: int) -> tuple[list[NDArray[np.uint8]], Span]:
    """Return the frames of a loop, and from when to when the planted event is in it."""
    category = list(EVENTS)[scene % len(EVENTS)]
    pictures: list[NDArray[np.uint8]] = []
    planted = None
    for clip in count(1000):  # other clips than those of the ordinary footage
        is_due = planted is None and len(pictures) >= PLANTED_FROM_S * fps
        shown, event = clip_of(scene, category if is_due else "normal", fps, clip)
        if event:
            first, end = (len(pictures) / fps + frame / FPS for frame in event)
            planted = first, end
        pictures += shown
        if len(pictures) >= LOOP_S * fps:
            assert planted
            return pictures[: LOOP_S * fps], planted
    raise AssertionError


def clip_of(
    scene: int, category: str, fps: int, number: int
) -> tuple[list[NDArray[np.uint8]], tuple[int, int] | None]:
    """Return the frames of one rendered video, and the interval of its event in frames."""
    rng = np.random.default_rng((scene, number))
    video = cast_video("", SCENES[scene], category, "train", rng)
    return list(frames(video, rng, every=round(FPS / fps))), video.event


class Cameras:
    """The four RTSP servers, each of which keeps its port when it is started again."""

    def __init__(self, videos: list[Path]) -> None:
        self._videos, self._ports, self._servers = videos, [0] * len(videos), []
        self.plays: list[list[Span]] = [[] for _ in videos]  # Unix times of each viewer
        self.addresses = []
        for index in range(len(videos)):
            self._servers.append(self._start(index))
            port = self._ports[index]
            self.addresses.append(f"rtsp://127.0.0.1:{port}/camera")

    def _start(self, index: int) -> subprocess.Popen[str]:
        command = [sys.executable, str(TESTS / "rtsp_server.py"), str(self._videos[index])]
        server = subprocess.Popen(
            [*command, str(self._ports[index])], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        self._ports[index] = int(server.stdout.readline().split(":")[2].split("/")[0])
        return server

    def pull(self, index: int) -> None:
        self._servers[index].kill()
        printed, _ = self._servers[index].communicate()
        began = [float(line.split()[1]) for line in printed.splitlines()]
        self.plays[index] += zip(began, [*began[1:], time.time()], strict=True)

    def return_(self, index: int) -> None:
        self._servers[index] = self._start(index)

    def close(self) -> None:
        for index in range(len(self._servers)):
            self.pull(index)


def main() -> None:
    """Run the benchmark and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--fps", type=int, default=10, help="of the cameras")
    parser.add_argument("--run", type=Path, help="a trained run, in place of one trained here")
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = measure(Path(name), args.minutes, args.fps, args.run)
    print(json.dumps(figures, indent=2))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, minutes: float, fps: int, run: Path | None) -> dict[str, Any]:
    """Make the cameras and watch them; return the figures."""
    if run is None:
        data = render_demo(folder / "demo", quiet=True)
        vad.extract(data.videos, folder / "demo.zarr", quiet=True)
        run = vad.train(
            folder / "demo.zarr", data.labels, folder / "runs" / "default", quiet=True
        ).path
    names = [f"camera{index}" for index in range(len(SCENES))]
    planted = {}
    for index, camera in enumerate(names):
        pictures, planted[camera] = looped(index, fps)
        encode(folder / "looped" / f"{camera}.mp4", iter(pictures), fps=fps)
        footage = folder / "ordinary" / f"{camera}.mp4"
        encode(footage, islice(ordinary(index, fps), ORDINARY_S * fps), fps=fps)
        vad.calibrate(run, footage, camera, quiet=True)
    cameras = Cameras([folder / "looped" / f"{camera}.mp4" for camera in names])
    receiver = Receiver()
    try:
        return watched(folder, minutes, run, planted, cameras, receiver)
    finally:
        receiver.close()


def watched(
    folder: Path,
    minutes: float,
    run: Path,
    planted: Mapping[str, Span],
    cameras: Cameras,
    receiver: Any,
) -> dict[str, Any]:
    """Run `vad watch` with its two interruptions; return the figures.

    planted: from when to when the planted event is in the loop of each camera.
    """
    config = folder / "cameras.toml"
    tables = [
        f'[cameras.{name}]\naddress = "{address}"\ncamera = "{name}"\n'
        for name, address in zip(planted, cameras.addresses, strict=True)
    ]
    config.write_text(
        f'folder = "{folder / "alerts"}"\nmetrics = "127.0.0.1:0"\n'
        f'[defaults]\nrun = "{run}"\ncool_down = 0\nafter = 3\n{"".join(tables)}'
        f'[sinks.hook]\ntype = "webhook"\nurl = "http://127.0.0.1:{receiver.http}/"\n'
        f'[sinks.home]\ntype = "mqtt"\nhost = "127.0.0.1"\nport = {receiver.mqtt}\n'
    )
    log = folder / "log"
    process = start(config, log)
    started_s, total_s = time.monotonic(), minutes * 60
    memory: list[tuple[float, int]] = []
    scraped: list[dict[str, float]] = []
    steps = [
        (0.4 * total_s, lambda: cameras.pull(0)),
        (0.4 * total_s + 5, lambda: cameras.return_(0)),
    ]
    killed = False
    while (now_s := time.monotonic() - started_s) < total_s:
        while steps and now_s >= steps[0][0]:
            steps.pop(0)[1]()
        if not killed and now_s >= 0.6 * total_s:
            killed = True
            scraped.append(figures_of(log))
            process.send_signal(signal.SIGKILL)
            process.wait()
            before_s = time.monotonic()
            process = start(config, log)
            started_s += time.monotonic() - before_s  # nothing is watched while it starts
            memory.clear()  # of one process
        memory.append((now_s, memory_bytes(process.pid)[0]))
        time.sleep(SAMPLE_EVERY_S)
    scraped.append(figures_of(log))
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    cameras.close()
    shown = {
        camera: [
            (began + n * LOOP_S + start, began + n * LOOP_S + stop)
            for began, ended in plays
            for n in range(int((ended - began - stop) // LOOP_S) + 1)
        ]
        for (camera, (start, stop)), plays in zip(planted.items(), cameras.plays, strict=True)
    }
    posts = [(json.loads(body), at_s) for _, body, at_s in receiver.posts]
    messages = [
        (json.loads(payload), at_s)
        for topic, payload, _, at_s in receiver.topics
        if topic.endswith("/event")
    ]
    warm = [at for at in memory if at[0] >= memory[0][0] + 0.2 * (total_s - memory[0][0])]
    return {
        "minutes": minutes,
        "cameras": len(planted),
        "scored": total(scraped, "vad_snippets_total"),
        "dropped": total(scraped, "vad_dropped_total"),
        "latency_s": {
            q: max(v for f in scraped for k, v in f.items() if f'quantile="{q}"' in k)
            for q in ("0.5", "0.95", "1")
        },
        "webhook": told(posts, shown),
        "mqtt": told(messages, shown),
        "health": Counter(p["health"] for p, _ in posts if p["state"] == "health"),
        "memory": memory_figures(*zip(*warm, strict=True)) if warm else None,
    }


def start(config: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start `vad watch`, and wait until it serves its figures."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "vad", "watch", str(config)], stderr=errors, env=os.environ
        )
    for _ in range(600):
        if "/metrics" in log.read_text():
            return process
        time.sleep(0.1)
    raise SystemExit(f"vad watch does not start: {log.read_text()}")


def figures_of(log: Path) -> dict[str, float]:
    """Return the figures that the process serves now."""
    found = re.search(r"http://\S+/metrics", log.read_text())
    assert found
    text = ""
    with suppress(OSError):
        text = urllib.request.urlopen(found[0], timeout=5).read().decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def total(scraped: list[dict[str, float]], name: str) -> int:
    """Return the sum of a counter over cameras and processes."""
    return int(sum(v for figures in scraped for k, v in figures.items() if k.startswith(name)))


def told(
    alerts: list[tuple[dict[str, Any], float]], planted: Mapping[str, list[Span]]
) -> dict[str, Any]:
    """Return what reached a receiver: planted events and others, repeats, and how soon.

    alerts: with the Unix time of arrival. planted: Unix times of the events of each camera.
    """
    keys = Counter((a["id"], a["state"]) for a, _ in alerts if a["state"] != "health")
    opened = {i for i, state in keys if state == "open"}
    closed = {i for i, state in keys if state == "closed"}
    delays = [
        at_s - datetime.fromisoformat(a["known"]).timestamp()
        for a, at_s in alerts
        if a["state"] == "open"
    ]
    spans: dict[str, tuple[str, Span]] = {}  # by id; those of closed events replace open ones
    for a, at_s in alerts:
        if a["state"] != "health":
            start, end = a["start"], a["end"]
            start_s = datetime.fromisoformat(start).timestamp()
            end_s = datetime.fromisoformat(end).timestamp() if end else at_s
            spans[a["id"]] = a["camera"], (start_s, end_s)
    met = {
        camera: [
            any(of == camera and overlap(span, one) for of, span in spans.values())
            for one in events
        ]
        for camera, events in planted.items()
    }
    others = [
        not any(overlap(span, one) for one in planted[camera]) for camera, span in spans.values()
    ]
    return {
        "planted": {camera: len(events) for camera, events in met.items()},
        "planted_told": {camera: sum(events) for camera, events in met.items()},
        "other_events": sum(others),
        "sent_again": sum(n - 1 for n in keys.values()),
        "without_end": len(opened - closed),
        "seconds_until_told": {
            "median": round(median(delays), 3) if delays else None,
            "most": round(max(delays), 3) if delays else None,
        },
    }


def overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


if __name__ == "__main__":
    main()
