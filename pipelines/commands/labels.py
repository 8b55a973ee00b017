"""`vad labels`: convert the lists and annotations of a data set to labels.csv and segments.csv."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..options import Json

NAMES = "ucf-crime|xd-violence|shanghaitech|ped2|msad|ubnormal|spans|hivau|folder|csv"


def command(
    dataset: Annotated[str, typer.Argument(metavar=NAMES, help="data set")],
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PATH]", help="folder of the data set; for csv, spans and hivau, the file"
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="folder for labels.csv and segments.csv")
    ] = Path("."),
    train: Annotated[
        Path | None,
        typer.Option(
            "--train", help="list of the training videos, in any of the published formats"
        ),
    ] = None,
    test: Annotated[Path | None, typer.Option("--test", help="list of the test videos")] = None,
    annotations: Annotated[
        Path | None, typer.Option("--annotations", help="anomalous frames of the test videos")
    ] = None,
    interval: Annotated[
        str | None,
        typer.Option(
            "--interval",
            metavar="half-open|inclusive|one-based",
            help="how annotations count frames; by default as the data set does",
        ),
    ] = None,
    fps: Annotated[
        float | None, typer.Option("--fps", min=0.001, help="frame rate, for a csv in seconds")
    ] = None,
    frames: Annotated[
        Path | None,
        typer.Option(
            "--frames", help="for spans, lengths of the videos: a CSV video,frames or a store"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make labels.csv and segments.csv from the lists and annotations of a data set.

    Frames in segments.csv are half-open, from 0, however the annotations count.

    Examples:

    vad labels folder videos/

    vad labels ucf-crime UCF_Crime/ --out lists/
    """
    from vad.datasets import read_dataset
    from vad.labels import write_labels, write_segments

    found = read_dataset(
        dataset,
        path,
        train=train,
        test=test,
        annotations=annotations,
        interval=interval,
        fps=fps,
        frames=frames,
    )
    write_labels(out / "labels.csv", found.labels)
    if found.segments:
        write_segments(out / "segments.csv", found.segments)
    splits = {split: found.count(split) for split in dict.fromkeys(x.split for x in found.labels)}
    n_kinds = len({kind for x in found.labels if x.label for kind in x.category.split("+")})
    if as_json:
        counts = {
            split or "all": dict(zip(("n_videos", "n_abnormal"), n, strict=True))
            for split, n in splits.items()
        }
        typer.echo(json.dumps({"splits": counts, "n_segments": len(found.segments)}))
        return
    for split, (n, n_abnormal) in splits.items():
        typer.echo(f"{split or 'videos'}: {n} videos, {n_abnormal} abnormal")
    typer.echo(f"{n_kinds} kinds of anomaly, {len(found.segments)} segments")
    typer.echo(
        f"written: {out / 'labels.csv'}{', segments.csv' if found.segments else ''}", err=True
    )
