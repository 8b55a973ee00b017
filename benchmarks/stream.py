"""Score a looped file as a long stream: memory growth, latency of scores, and dropped clips.

    python benchmarks/stream.py VIDEO --detector RUN [--hours 1] [--speed 8] [--json OUT]

An hour of stream takes an hour at --speed 1. At a higher speed, frames arrive faster than from a
camera: as many frames as in an hour are sent, of which a slow machine scores fewer. Memory is that
of the process tree, sampled every second. The first minute is left out; then the median of the last
minute is compared with that of the first.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import vad  # noqa: F401  # sets how the threads of torch wait, before torch is loaded
from vad.stages.pipelines.stream import stream

WARM_UP_S = 60.0
SAMPLE_EVERY_S = 1.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Sample = tuple[float, int, int]  # seconds, resident bytes, private bytes


def memory_bytes(process: int | None = None) -> tuple[int, int]:
    """Return the memory of a process, by default this one, and its descendants: resident, and not
    backed by a file.

    The pages of libraries stay resident only while no other process needs the memory, so the first
    number varies.
    """
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has ended
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            children.setdefault(int(parent), []).append(int(folder.name))
    todo, resident, own = [process or os.getpid()], 0, 0
    while todo:
        pid = todo.pop()
        todo += children.get(pid, [])
        with suppress(OSError):
            n_resident, n_shared = map(int, Path(f"/proc/{pid}/statm").read_text().split()[1:3])
            resident += n_resident * PAGE_BYTES
            own += (n_resident - n_shared) * PAGE_BYTES
    return resident, own


def sample(memory: list[Sample], stop: threading.Event) -> None:
    """Append samples of the memory until `stop` is set."""
    started = time.monotonic()
    while not stop.wait(SAMPLE_EVERY_S):
        memory.append((time.monotonic() - started, *memory_bytes()))


def watch(video: Path, run: Path, *, hours: float, speed: float) -> dict[str, Any]:
    """Score the stream for that many hours of stream time; return the figures."""
    memory: list[Sample] = []
    stop, done = threading.Event(), threading.Event()
    sampler = threading.Thread(target=sample, args=(memory, done), daemon=True)
    end: dict[str, Any] = {}
    sampler.start()
    for line in stream(str(video), run, stop=stop, speed=speed, loop=True, time_limit=120):
        if line["type"] == "start":
            memory.clear()
        elif line["type"] == "end":
            end = line
        elif float(str(line.get("end_s", 0))) >= hours * 3600:
            stop.set()
    done.set()
    sampler.join()
    warm = [at for at in memory if at[0] >= WARM_UP_S]
    figures: dict[str, Any] = {
        "video": video.name,
        "detector": run.name,
        "speed": speed,
        **{name: end[name] for name in ("stream_s", "wall_s", "n_snippets", "n_dropped")},
        "dropped_share": end["dropped_share"],
        "latency_s": end["latency_s"],
    }
    if warm:
        seconds, resident, own = zip(*warm, strict=True)
        figures["resident"] = memory_figures(seconds, resident)
        figures["own"] = memory_figures(seconds, own)
    return figures


def memory_figures(seconds: Sequence[float], sizes: Sequence[int]) -> dict[str, Any]:
    """Return medians per minute and the peak in MB, and the growth from the first to the last
    minute.
    """
    minutes: dict[int, list[int]] = {}
    for at, size in zip(seconds, sizes, strict=True):
        minutes.setdefault(int(at // 60), []).append(size)
    medians = [median(values) / 1e6 for values in minutes.values()]
    return {
        "first_mb": medians[0],
        "last_mb": medians[-1],
        "peak_mb": max(sizes) / 1e6,
        "growth": medians[-1] / medians[0] - 1,
        "medians_mb": medians,
    }


def main() -> None:
    """Run the benchmark and print the figures."""
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
