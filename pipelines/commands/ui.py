"""`vad ui`: serve a local web page that scores videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Device, Offline, RunOption, Weights


def command(
    videos: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="folder of videos to choose from")
    ] = None,
    detector: RunOption = None,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="address to listen on; one that others can reach needs the token that is printed",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="port to listen on; 0: any free one")
    ] = 8765,
    max_upload: Annotated[
        float,
        typer.Option("--max-upload", min=0, help="largest video that may be dropped, in gigabytes"),
    ] = 2.0,
    device: Device = "auto",
    weights: Weights = None,
    offline: Offline = False,
) -> None:
    """Open a local page: drop a video, read its report. Ctrl-C ends it.

    Examples:

    vad ui

    vad ui videos/ --detector runs/rtfm --port 0
    """
    import contextlib
    import signal

    from vad.stages.pipelines.ui import serve

    # SIGTERM, as a service manager sends it, is to clean up as Ctrl-C does. SIGINT is set as well,
    # because a command that a script starts in the background ignores it by default.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is the normal way to stop
        serve(
            detector,
            videos,
            host=host,
            port=port,
            max_bytes=round(max_upload * 1e9),
            ready=lambda server: typer.echo(server.address),
            device=device,
            weights=weights,
            offline=offline,
        )
