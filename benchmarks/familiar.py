"""Whether runs know videos of their kind again when they are re-encoded, and tell others.

    python benchmarks/familiar.py [--store STORE] [--json OUT]

For each fold of the fight set, a run is trained on the other folds (`vad train` as typed). It looks
at the normal videos of the fold: as they are, and re-encoded at half the frame rate, half the size,
with strong compression (x264, CRF 40), and with all three. Prints how many it calls familiar. The
run of the first fold also looks at Ped2, of which it should call no video familiar.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections import defaultdict
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
from datasets import DATA, videos_of

from vad import extract, score_store, train
from vad.labels import read_labels

# name -> (frames of which one is kept, divisor of width and height, CRF of x264)
VARIANTS = {
    "half rate": (2, 1, 18),
    "half size": (1, 2, 18),
    "strong compression": (1, 1, 40),
    "all three": (2, 2, 40),
}


def reencode(source: Path, out: Path, every: int, divisor: int, crf: int) -> None:
    """Write a video again: of `every` frames one, the sides divided, compressed by x264."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as video, av.open(str(out), "w") as container:
        shown = video.streams.video[0]
        rate = Fraction(shown.average_rate or 25) / every
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf)})
        stream.width, stream.height = (
            side // divisor // 2 * 2 for side in (shown.width, shown.height)
        )
        stream.pix_fmt = "yuv420p"
        for index, frame in enumerate(islice(video.decode(shown), 0, None, every)):
            small = frame.reformat(stream.width, stream.height, "yuv420p")
            small.pts, small.time_base = index, 1 / rate
            container.mux(stream.encode(small))
        container.mux(stream.encode(None))


def main() -> None:
    """Run the benchmark and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--store", type=Path, help="keep the features of the fight set here")
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    logging.getLogger("vad").setLevel(logging.ERROR)
    familiar: dict[str, int] = defaultdict(int)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = videos_of("fight")(args.store or folder / "fight.zarr")
        labels = read_labels(data.labels)
        normal = {label.video: label.fold for label in labels if label.label == 0}
        for variant, settings in VARIANTS.items():
            for video in normal:
                source = DATA / "fight" / "videos" / f"{video}.mp4"
                reencode(source, folder / variant / f"{video}.mp4", *settings)
            extract(folder / variant, folder / f"{variant}.zarr", quiet=True)
        stores = {"as it is": data.store, **{v: folder / f"{v}.zarr" for v in VARIANTS}}
        folds = sorted({label.fold for label in labels})
        for fold in folds:
            run = train(data.store, data.labels, folder / f"run-{fold}", fold=fold, quiet=True)
            for variant, store in stores.items():
                for scores in score_store(store, run.path):
                    if normal.get(scores.video) == fold:
                        familiar[variant] += not scores.warning
        other = videos_of("ped2")(folder / "ped2.zarr")
        seen = list(score_store(other.store, folder / f"run-{folds[0]}"))
        familiar["Ped2"] = sum(not scores.warning for scores in seen)
    counts = dict.fromkeys(stores, len(normal)) | {"Ped2": len(seen)}
    for variant, n in counts.items():
        print(f"{variant:20s} {familiar[variant]} of {n} familiar")
    if args.json:
        args.json.write_text(json.dumps(familiar, indent=2) + "\n")


if __name__ == "__main__":
    main()
