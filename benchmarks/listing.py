"""List and probe a folder of ordinary videos with this code and with another version, side by side.

    git archive VERSION | tar -x -C /tmp/old
    python benchmarks/listing.py --old /tmp/old [--videos 1000] [--rounds 5] [--json OUT]

The two versions take turns; each turn is a process of its own, which measures only the listing and
the probing, in CPU seconds. The ratio is that of the shortest times.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path

import av
from clips import DATA, write_clip

HERE = Path(__file__).resolve().parent.parent
FORMS = (
    *(("mp4", "libx264"), ("mkv", "libx264"), ("ts", "libx264"), ("avi", "mpeg4")),
    *(("webm", "libvpx"), ("mov", "libx265"), ("flv", "libx264"), ("avi", "mjpeg")),
)
TURN = """
import importlib, json, sys, time
try:
    import vad.stages.extract as extract
except ModuleNotFoundError:  # before 0.2
    import vad.extract as extract
probe = importlib.import_module(extract.__name__ + ".decoders.video").probe
find_sources = importlib.import_module(extract.__name__ + ".sources").find_sources
started = time.process_time()
sources = find_sources([sys.argv[1]])
listed = time.process_time()
for source in sources:
    probe(source.path)
print(json.dumps([len(sources), listed - started, time.process_time() - listed]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--old", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    codes = {"now": HERE, "old": args.old.resolve()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in codes}
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), args.videos)
        for number in range(args.rounds):
            order = tuple(codes) if number % 2 else tuple(codes)[::-1]
            for name in order:
                times[name].append(turn(codes[name], Path(folder), args.videos))
    result: dict[str, dict[str, float]] = {}
    for what, at in (("listed", 0), ("probed", 1)):
        now_s, old_s = (min(turn[at] for turn in times[name]) for name in ("now", "old"))
        result[what] = {"now_s": now_s, "old_s": old_s, "ratio": now_s / old_s}
        print(f"{args.videos} videos {what}: {now_s:.3f} s, before {old_s:.3f} s", end="")
        print(f", ratio {now_s / old_s:.2f}")
    if args.json:
        args.json.write_text(json.dumps({"videos": args.videos, "cpu": result}))


def turn(code: Path, folder: Path, n_videos: int) -> tuple[float, float]:
    """Return the CPU seconds that a version takes to list and to probe the videos of a folder."""
    done = subprocess.run(
        [sys.executable, "-c", TURN, str(folder)],
        env={**os.environ, "PYTHONPATH": str(code / "src")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found, listed_s, probed_s = json.loads(done.stdout)
    if found != n_videos:
        raise SystemExit(f"{code} lists {found} of {n_videos} videos")
    return listed_s, probed_s


def fill(folder: Path, n_videos: int) -> None:
    """Write the same two real seconds in several formats, and link them under many names."""
    with av.open(str(DATA / "fight" / "videos" / "s03_calm0.mp4")) as container:
        frames = [f.reformat(320, 240) for f in islice(container.decode(video=0), 60)]
    originals = [folder / f".{codec}.{suffix}" for suffix, codec in FORMS]
    for path, (_, codec) in zip(originals, FORMS, strict=True):
        write_clip(path, frames, codec)
    for number, path in zip(range(n_videos), cycle(originals)):
        (folder / f"{number % 10}").mkdir(exist_ok=True)
        (folder / f"{number % 10}" / f"{number}{path.suffix}").hardlink_to(path)
    for path in originals:
        path.unlink()


if __name__ == "__main__":
    main()
