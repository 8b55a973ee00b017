"""`vad verify`: check whether a store still contains exactly what was written."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ..options import Json, Quiet, StoreArgument


def command(
    store: StoreArgument = "features.zarr",
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="move bad videos out of the store; the next vad extract computes them again",
        ),
    ] = False,
    sources: Annotated[
        bool,
        typer.Option(
            "--sources", help="compare the video files too: missing, replaced, still growing"
        ),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check every byte of a feature store against its checksums.

    Examples:

    vad verify

    vad verify s3://bucket/features.zarr --repair --sources
    """
    from vad.verbs import verify

    report = verify(store, repair=repair, sources=sources, quiet=quiet or as_json)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), ensure_ascii=False))
        raise typer.Exit(report.exit_code)
    for fault in report.faults:
        typer.echo(
            f"{fault.video}{' ' * bool(fault.array)}{fault.array}: {fault.kind}: {fault.what}"
        )
    for cache in report.caches:
        typer.echo(f"{cache}: it is not the training data that was packed")
    for video, path in report.moved.items():
        typer.echo(f"moved {video} to {path}")
    typer.echo(
        f"{report.n_videos} videos, {report.n_arrays} arrays, {report.n_bytes / 1e6:,.1f} MB: "
        + (f"{len(report.bad_videos)} bad" if report.faults else "all as written")
    )
    for change in report.sources:
        typer.echo(f"{change.video} {change.kind}: {change.what} ({change.path})")
    if sources:
        typer.echo(
            f"{report.n_sources} files compared, {len(report.sources)} changed"
            + (f"; {report.n_without_source} videos are imported" * bool(report.n_without_source))
        )
    if report.moved:
        typer.echo("now extract them again: vad extract VIDEOS", err=True)
    elif report.faults or report.caches:
        typer.echo(f"move them out: vad verify {store} --repair", err=True)
    raise typer.Exit(report.exit_code)
