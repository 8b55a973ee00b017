"""`vad models`: the backbones and detectors there are."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from ..options import Json


def command(as_json: Json = False) -> None:
    """List backbones, their weights and licences, and detectors."""
    from vad.extract.backbones.table import BACKBONES
    from vad.train.detectors.table import DETECTORS

    if as_json:
        listed = {
            "backbones": [asdict(card) for card in BACKBONES.values()],
            "detectors": {
                name: {"says": row.summary, "paper": row.paper, "text": row.text}
                for name, row in DETECTORS.items()
            },
        }
        typer.echo(json.dumps(listed, default=str))
        return
    typer.echo("backbones (vad extract --backbone NAME --weights NAME|FILE)")
    for card in BACKBONES.values():
        typer.echo(f"\n  {card.name}  {card.dim}-d  {card.says}")
        typer.echo(f"    recipes: {', '.join(card.recipes)}")
        for weights in card.weights:
            size = f", {weights.n_bytes / 1e6:,.0f} MB" if weights.n_bytes else ""
            typer.echo(f"    {weights.name}  ({weights.licence}{size})  {weights.says}".rstrip())
            typer.echo(f"      {weights.source}")
    typer.echo("\ndetectors (vad train --detector NAME)\n")
    for name, row in DETECTORS.items():
        reads = "visual and text" if row.text else "visual"
        typer.echo(f"  {name}  {row.summary}\n    {row.paper}; reads {reads} features")
