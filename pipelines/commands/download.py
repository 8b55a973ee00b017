"""`vad download`: fetch pretrained weights before they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Quiet


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAMES]...", help="names of weights, as vad models lists them"),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="fetch all weights that need no account: some hundred MB each"),
    ] = False,
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="DIR", help="folder for the weights")
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="open no network connection: only check the weights on this machine"
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Fetch pretrained weights; what is here already is checked against its checksum.

    Examples:

    vad download i3d-inception

    vad download --all --cache models/
    """
    from vad.errors import UsageError
    from vad.stages.extract.weights.catalogue import catalogue, fetch_entry, find_entry

    if bool(names) == everything:
        raise UsageError("name what to fetch, or give --all", hint="see: vad models")
    entries = [find_entry(n) for n in names or []] or list(catalogue().values())
    failed = 0
    for entry in entries:
        try:
            path = fetch_entry(entry, offline=offline, cache=cache, quiet=quiet)
        except UsageError as error:
            if len(entries) == 1:
                raise
            failed += 1
            typer.echo(f"{entry.name}: {error}", err=True)
        else:
            typer.echo(f"{entry.name}: {path} (licence: {entry.weights.licence})")
    if cache:
        typer.echo(f"to use them: export VAD_CACHE={cache} HF_HUB_CACHE={cache / 'hub'}", err=True)
    if failed:
        raise UsageError(f"{failed} of {len(entries)} could not be had")
