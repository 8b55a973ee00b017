"""How often scores point to the figure that an event consists of, on the demo's test videos.

    python benchmarks/pointing.py --json OUT

Renders the demo's videos, extracts, trains from video labels as `vad train` does, and scores the
abnormal test videos. In every snippet in which a planted figure is in view for at least half of the
frames, the middle of the hottest cell should lie in the box of a figure in one of its frames.
`pointed` is the share of snippets where it does; `chance` is the share of the picture that these
boxes cover. `at_middle` and `chance_at_middle` count the boxes of the middle frame alone.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad import extract, score_store
from vad.files import write_json
from vad.grid import CLIP_FRAMES
from vad.labels import read_labels
from vad.stages.infer.scores import VideoScores
from vad.stages.pipelines.demo.videos import DemoData, render_demo
from vad.stages.train.training import train

Masks = dict[int, NDArray[np.bool_]]  # pixels in boxes [height, width], by frame
FIGURES = ("pointed", "chance", "at_middle", "chance_at_middle")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of the videos")
    parser.add_argument("--folder", type=Path, help="keep videos, features and run here")
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(args.folder or Path(temporary), args.seed)
    for category, figures in found.items():
        shown = "  ".join(f"{name} {figures[name]:.3f}" for name in FIGURES)
        print(f"{category:10s} {figures['snippets']:4d} snippets  {shown}")
    if args.json:
        write_json(args.json, {"seed": args.seed, "figures": found})


def measure(folder: Path, seed: int) -> dict[str, dict[str, float]]:
    """Return the figures of each category of events, and of all."""
    data = render_demo(folder / "data", seed=seed)
    store, run = folder / "features.zarr", folder / "runs" / "default"
    extract(data.videos, store)
    train(store, data.labels, run, overwrite=True)
    tested = {x.video: x.category for x in read_labels(data.labels) if x.split == "test"}
    rows: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for scores in score_store(store, run):
        category = tested.get(scores.video, "normal")
        if category != "normal":
            rows[category] += pointing(scores, masks_of(data, scores))
    rows["all"] = [row for found in rows.values() for row in found]
    return {
        category: {"snippets": len(found), **dict(zip(FIGURES, np.mean(found, 0), strict=True))}
        for category, found in rows.items()
    }


def masks_of(data: DemoData, scores: VideoScores) -> Masks:
    """Return the pixels of each frame of a video that lie in the box of a planted figure."""
    masks: Masks = {}
    with data.boxes.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["video"] == scores.video:
                empty = np.zeros((scores.record.height, scores.record.width), np.bool_)
                mask = masks.setdefault(int(row["frame"]), empty)
                rows = slice(int(row["top_px"]), int(row["bottom_px"]))
                mask[rows, int(row["left_px"]) : int(row["right_px"])] = True
    return masks


def pointing(scores: VideoScores, masks: Masks) -> list[tuple[float, ...]]:
    """Return the values of FIGURES for every snippet of a video in which a figure is in view."""
    assert scores.where is not None
    rows: list[tuple[float, ...]] = []
    for snippet in range(len(scores.snippets)):
        start, stop = scores.record.grid.frames_of(snippet, scores.record.n_frames)
        seen = [masks[frame] for frame in range(start, stop) if frame in masks]
        if len(seen) < CLIP_FRAMES / 2:
            continue
        pair = (np.any(seen, 0), seen[len(seen) // 2])
        hottest = scores.where.hottest(snippet)
        x, y = map(int, hottest) if hottest else (0, 0)
        hits = [bool(hottest and mask[y, x]) for mask in pair]
        rows.append((hits[0], pair[0].mean(), hits[1], pair[1].mean()))
    return rows


if __name__ == "__main__":
    main()
