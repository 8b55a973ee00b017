"""`vad explain`: say in words what is seen in the events of written scores."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..options import Device, Json, Offline, Quiet

log = logging.getLogger("vad")


def command(
    scores: Annotated[
        list[Path], typer.Argument(metavar="SCORES...", help="JSON files of vad score, or folders")
    ],
    captioner: Annotated[
        str,
        typer.Option("--captioner", help="labels, git, blip or instruct, each also NAME:MODEL"),
    ] = "labels",
    top: Annotated[
        int, typer.Option("--top", help="most events of a video, those with the highest scores")
    ] = 20,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="folder of the report; by default that of the scores"
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="write the report again")
    ] = True,
    device: Device = "auto",
    precision: Annotated[
        str, typer.Option("--precision", help="of the captioner: auto, fp32, bf16 or fp16")
    ] = "auto",
    offline: Offline = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what is seen in each event, and why it may be unusual, by a captioner.

    The captions of an event are compared with those of ordinary moments of the same video. They
    are generated, can be wrong, and are marked so in the scores and in the report.

    Examples:

    vad explain scores/

    vad explain scores/video.json --captioner git --top 5
    """
    from vad.errors import VideoError
    from vad.stages.pipelines.results import Results, explained_words
    from vad.verbs import explain

    failed: dict[str, VideoError] = {}

    def on_failed(video: str, error: VideoError) -> None:
        failed[video] = error
        log.warning("%s", error)

    videos = explain(
        scores,
        captioner=captioner,
        top=top,
        device=device,
        precision=precision,
        offline=offline,
        quiet=quiet,
        on_failed=on_failed,
    )
    if as_json:
        found = {s.video: asdict(s.explained) for s in videos if s.explained}
        typer.echo(json.dumps(found, ensure_ascii=False, allow_nan=False))
    else:
        typer.echo(explained_words(videos))
    folder = out or (scores[0] if scores[0].is_dir() else scores[0].parent)
    with Results(folder, ["html"] if report else [], quiet=quiet) as results:
        for video in videos:
            results.add(video)
    raise typer.Exit(VideoError.exit_code if failed else 0)
