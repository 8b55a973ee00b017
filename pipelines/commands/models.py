"""`vad models`: list the pretrained networks and the detectors."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..options import Json

if TYPE_CHECKING:
    from vad.stages.extract.weights.catalogue import Entry


def command(
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", metavar="DIR", help="folder that was given to vad download --cache"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List pretrained weights, with licences and whether they are on this machine, and detectors.

    Examples:

    vad models

    vad models --json
    """
    from vad.plugins import add_plugins
    from vad.stages.extract.backbones.table import BACKBONES
    from vad.stages.extract.captioners.table import CAPTIONERS, CaptionerCard
    from vad.stages.extract.sentences.table import ENCODERS
    from vad.stages.extract.weights.catalogue import catalogue
    from vad.stages.train.detectors.table import DETECTORS
    from vad.stages.train.presets import PRESETS

    add_plugins("backbone", BACKBONES)
    add_plugins("captioner", CAPTIONERS)
    add_plugins("detector", DETECTORS)
    weights = [_describe(entry, cache) for entry in catalogue().values()]
    if as_json:
        listed = {
            "backbones": [asdict(card) for card in BACKBONES.values()],
            "weights": weights,
            "detectors": {
                name: {"says": row.summary, "paper": row.paper, "text": row.text}
                for name, row in DETECTORS.items()
            },
            "presets": {name: asdict(preset) for name, preset in PRESETS.items()},
        }
        typer.echo(json.dumps(listed, default=str))
        return
    typer.echo("backbones (vad extract --backbone NAME --weights NAME|FILE)")
    for card in BACKBONES.values():
        width, window = _or_any(card.dim, "-d"), _or_any(card.window, " frames")
        typer.echo(f"\n  {card.name}  width {width}  window {window}  {card.says}")
        typer.echo(f"    recipes: {', '.join(card.recipes)}")
        _show(weights, f"backbone {card.name}")
    for use, cards in (("captioner", CAPTIONERS), ("encoder", ENCODERS)):
        typer.echo(f"\n{use}s (vad caption --{use} NAME)\n")
        for name, row in cards.items():
            window = f"window {row.window} frames  " if isinstance(row, CaptionerCard) else ""
            typer.echo(f"  {name}  {window}{row.says}")
            _show(weights, f"{use} {name}")
    typer.echo("\ndetectors (vad train --detector NAME, or --preset NAME)\n")
    for name, detector in DETECTORS.items():
        reads = "visual features and text" if detector.text else "visual features, text, or both"
        typer.echo(f"  {name}  {detector.summary}\n    {detector.paper}; reads {reads}")
        if presets := [n for n, preset in PRESETS.items() if preset.detector == name]:
            typer.echo(f"    presets: {', '.join(presets)}")


def _or_any(number: int, unit: str) -> str:
    """Return a number with its unit; "any" for 0, where the weights decide."""
    return f"{number}{unit}" if number else "any"


def _describe(entry: Entry, cache: Path | None) -> dict[str, Any]:
    """Return an entry for JSON; `n_bytes` is the size of its cached file, else of its tensors."""
    from vad.stages.extract.weights.catalogue import cached

    path = cached(entry, cache)
    n_bytes = path.stat().st_size if path and path.is_file() else entry.weights.n_bytes
    known = entry.weights
    return {
        "name": entry.name,
        "use": entry.use,
        "dim": entry.dim,
        "licence": known.licence,
        "n_bytes": n_bytes,
        "n_parameters": known.n_parameters,
        "source": known.source,
        "says": known.says,
        "cached": str(path) if path else None,
    }


def _show(weights: list[dict[str, Any]], use: str) -> None:
    for row in weights:
        if row["use"] == use:
            typer.echo("\n".join(_lines(row)))


def _lines(row: dict[str, Any]) -> list[str]:
    size = f"{row['n_bytes'] / 1e6:,.0f} MB" if row["n_bytes"] else "of no known size"
    here = row["cached"] or f"not here: vad download {row['name']}"
    says = row["says"] if row["use"].startswith("backbone") else ""  # printed above
    return [
        f"    {row['name']}  ({row['licence']}; {size})  {says}".rstrip(),
        f"      {row['source']}",
        f"      {here}",
    ]
