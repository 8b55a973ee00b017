"""`vad ui`: the page of a project folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Device, Offline, RunOption, Weights

Project = Annotated[
    Path,
    typer.Argument(metavar="[FOLDER]", help="project folder: videos/, labels.csv, runs/, scores/"),
]
Host = Annotated[
    str,
    typer.Option(
        "--host",
        help="address to listen on; one that others can reach needs the token that is printed",
    ),
]
Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="port to listen on; 0: any free one")
]
Public = Annotated[
    str,
    typer.Option("--public", metavar="URL", help="address of a proxy with TLS before the page"),
]


def command(
    project: Project = Path(),
    detector: RunOption = None,
    host: Host = "127.0.0.1",
    port: Port = 8765,
    public: Public = "",
    max_upload: Annotated[
        float,
        typer.Option("--max-upload", min=0, help="largest video that can be added, in gigabytes"),
    ] = 2.0,
    device: Device = "auto",
    weights: Weights = None,
    offline: Offline = False,
) -> None:
    """Open the page of a project: add videos, label, train, score, review. Ctrl-C ends it.

    Examples:

    vad ui

    vad ui entrance/ --port 0
    """
    serve_page(
        project,
        detector=detector,
        host=host,
        port=port,
        public=public,
        max_bytes=round(max_upload * 1e9),
        device=device,
        weights=weights,
        offline=offline,
    )


def serve_page(project: Path, **settings: object) -> None:
    """Serve a page and print its address, until Ctrl-C or SIGTERM."""
    import contextlib
    import signal
    from typing import Any, cast

    from vad.stages.pipelines.ui.server import serve

    # SIGTERM, as a service manager sends it, is to clean up as Ctrl-C does. SIGINT is set as well,
    # because a command that a script starts in the background ignores it by default.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is the normal way to stop
        serve(
            project,
            ready=lambda page: typer.echo(page.address),
            **cast("dict[str, Any]", settings),
        )
