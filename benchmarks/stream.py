"""Watch a file in a loop as a long stream: does memory hold, how late are scores, what is dropped?

    python benchmarks/stream.py VIDEO --detector RUN [--hours 1] [--speed 8] [--json OUT]

An hour of stream takes an hour at --speed 1. At more, frames come faster than a camera would send
them: as many go through as in an hour, of which a slow machine scores fewer. Memory is that of the
process tree, resident, sampled every second; from one minute after the start on, the median of
its last minute and its peak are compared with the median of its first.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import vad  # noqa: F401  # sets how the threads of torch wait, before torch is loaded
from vad.pipelines.stream import stream

WARM_UP_S = 60.0
SAMPLE_EVERY_S = 1.0


def resident_bytes() -> int:
    """Resident memory of this process and all below it."""
    children: dict[int, list[int]] = {}
    resident: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        pid, parent = int(folder.name), int(fields[1])
        children.setdefault(parent, []).append(pid)
        resident[pid] = int(fields[21]) * 4096
    todo, total = [int(Path("/proc/self").readlink().name)], 0
    while todo:
        pid = todo.pop()
        total += resident.get(pid, 0)
        todo += children.get(pid, [])
    return total


def sample(memory: list[tuple[float, int]], stop: threading.Event) -> None:
    """Note (seconds, bytes) until `stop`."""
    started = time.monotonic()
    while not stop.wait(SAMPLE_EVERY_S):
        memory.append((time.monotonic() - started, resident_bytes()))


def watch(video: Path, run: Path, *, hours: float, speed: float) -> dict[str, Any]:
    """Watch until so many hours of stream have passed; the figures."""
    memory: list[tuple[float, int]] = []
    stop, done = threading.Event(), threading.Event()
    sampler = threading.Thread(target=sample, args=(memory, done), daemon=True)
    end: dict[str, Any] = {}
    sampler.start()
    for line in stream(str(video), run, stop=stop, speed=speed, loop=True, time_limit=120):
        if line["type"] == "start":
            memory.clear()
        elif line["type"] == "end":
            end = line
        elif line.get("end_s", 0) >= hours * 3600:
            stop.set()
    done.set()
    sampler.join()
    warm = [(seconds, size) for seconds, size in memory if seconds >= WARM_UP_S]
    figures: dict[str, Any] = {
        "video": video.name,
        "detector": run.name,
        "speed": speed,
        **{name: end[name] for name in ("stream_s", "wall_s", "n_snippets", "n_dropped")},
        "dropped_share": end["dropped_share"],
        "latency_s": end["latency_s"],
    }
    if warm:
        figures |= memory_figures(warm)
    return figures


def memory_figures(samples: list[tuple[float, int]]) -> dict[str, Any]:
    """First and last minute, every minute between them, and the peak, of (seconds, bytes)."""
    minutes: dict[int, list[int]] = {}
    for seconds, size in samples:
        minutes.setdefault(int(seconds // 60), []).append(size)
    medians = [median(sizes) / 1e6 for sizes in minutes.values()]
    peak = max(size for _, size in samples) / 1e6
    return {
        "memory_mb": {"first": medians[0], "last": medians[-1], "peak": peak, "medians": medians},
        "memory_growth": medians[-1] / medians[0] - 1,
        "memory_peak_growth": peak / medians[0] - 1,
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--detector", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--speed", type=float, default=8.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures = watch(given.video, given.detector, hours=given.hours, speed=given.speed)
    print(json.dumps(figures, indent=2))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
