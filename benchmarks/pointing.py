"""How often scores point to the figure that an event consists of, on the demo's test videos.

    python benchmarks/pointing.py --seeds 4 --json OUT

Renders the demo's videos, extracts, trains from video labels as `vad train` does, and scores the
abnormal test videos. In every snippet in which a planted figure is in view for at least half of the
frames, the hottest place should lie in the box of a figure in one of its frames. `pointed` is the
share of snippets where it does; `cell` is that where the middle of the cell with the largest share
does, and `possible` that where the middle of any cell does, as small figures may lie between them;
`chance` is the share of the picture that the boxes cover. `at_middle` and `chance_at_middle` are
`pointed` and `chance` for the boxes of the middle frame alone, and `overlap` is the intersection of
these boxes with `Where.box` over their union.
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
from vad.stages.infer.where import Box
from vad.stages.pipelines.demo.videos import DemoData, render_demo
from vad.stages.train.training import train

Masks = dict[int, NDArray[np.bool_]]  # pixels in boxes [height, width], by frame
FIGURES = (
    *("pointed", "cell", "possible", "chance"),
    *("at_middle", "chance_at_middle", "overlap"),
)
Rows = defaultdict[str, list[tuple[float, ...]]]  # values of FIGURES, by category of the event


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=1, help="renderings of the data set")
    parser.add_argument("--folder", type=Path, help="keep videos, features and runs here")
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    rows: Rows = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(args.seeds):
            measure((args.folder or Path(temporary)) / str(seed), seed, rows)
    rows["all"] = [row for found in rows.values() for row in found]
    found = {
        category: {"snippets": len(of), **dict(zip(FIGURES, np.mean(of, 0), strict=True))}
        for category, of in rows.items()
    }
    for category, figures in found.items():
        shown = "  ".join(f"{name} {figures[name]:.3f}" for name in FIGURES)
        print(f"{category:10s} {figures['snippets']:4d} snippets  {shown}")
    if args.json:
        write_json(args.json, {"seeds": args.seeds, "figures": found})


def measure(folder: Path, seed: int, rows: Rows) -> None:
    """Add the rows of one rendering of the data set, by category of the event."""
    data = render_demo(folder / "data", seed=seed)
    store, run = folder / "features.zarr", folder / "runs" / "default"
    extract(data.videos, store)
    train(store, data.labels, run, overwrite=True)
    tested = {x.video: x.category for x in read_labels(data.labels) if x.split == "test"}
    for scores in score_store(store, run):
        category = tested.get(scores.video, "normal")
        if category != "normal":
            rows[category] += pointing(scores, masks_of(data, scores))


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
        every, middle = np.any(seen, 0), seen[len(seen) // 2]
        place = scores.where.hottest(snippet)
        cell = scores.where.middles[int(scores.where.shares[snippet].argmax())]
        rows.append(
            (
                _holds(every, place),
                _holds(every, cell),
                any(_holds(every, middle_of_cell) for middle_of_cell in scores.where.middles),
                every.mean(),
                _holds(middle, place),
                middle.mean(),
                _overlap(middle, scores.where.box(snippet)),
            )
        )
    return rows


def _holds(mask: NDArray[np.bool_], place: tuple[float, float] | None) -> bool:
    """Return True if a place (x, y) lies in a mask [height, width]."""
    return place is not None and bool(mask[int(place[1]), int(place[0])])


def _overlap(mask: NDArray[np.bool_], box: Box | None) -> float:
    """Return the intersection of a mask [height, width] and a box over their union."""
    boxed = np.zeros_like(mask)
    if box:
        left, top, right, bottom = box
        boxed[top:bottom, left:right] = True
    return float((mask & boxed).sum() / (mask | boxed).sum())


if __name__ == "__main__":
    main()
