"""`vad stream`: score a camera or a network stream while it runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from vad.stages.infer.settings import Decision, parse_threshold
from vad.stages.infer.stream.settings import StreamSettings

from ..options import Device, Offline, Quiet, RunOption, Threshold, Weights, takes


@dataclass(frozen=True, kw_only=True)
class Settings(StreamSettings, Decision):
    """The options of `vad stream`: how the source is watched, and how a run decides."""


@takes(Settings, "stream")
def command(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="file, camera number, rtsp://... or rtsps://...")
    ],
    settings: Settings,
    detector: RunOption = None,
    threshold: Threshold = "auto",
    device: Device = "auto",
    weights: Weights = None,
    fps: Annotated[
        float | None,
        typer.Option("--fps", min=0.01, help="of a bare stream; by default its header's, else 25"),
    ] = None,
    offline: Offline = False,
    quiet: Quiet = False,
) -> None:
    """Score a live source as it arrives; print one JSON object per line.

    Ctrl-C ends it with a last line and exit code 130, SIGTERM with 143; a second one ends it
    at once.

    Examples:

    vad stream rtsp://camera/1 --detector runs/rtfm

    vad stream video.mp4 --speed 1 --threshold 0.8
    """
    import json
    import os
    import signal
    import sys
    import threading

    from vad.verbs import stream

    stop, ended_by = threading.Event(), 0

    def end(number: int, _frame: object) -> None:
        nonlocal ended_by
        ended_by = number
        stop.set()
        signal.signal(number, signal.default_int_handler)

    lines = stream(
        source,
        detector,
        threshold=parse_threshold(threshold),
        stop=stop,
        quiet=quiet,
        device=device,
        weights=weights,
        fps=fps,
        offline=offline,
        **asdict(settings),
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        for line in lines:
            print(json.dumps(line, ensure_ascii=False, allow_nan=False), flush=True)
    except BrokenPipeError:  # the reader of the lines has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if stop.is_set():
        raise typer.Exit(128 + ended_by)
