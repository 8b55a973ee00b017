"""`vad inspect`: show what a store or a trained run contains, and how it was made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from vad.errors import VideoError

from ..options import Json, Offline


def command(
    path: Annotated[str, typer.Argument(metavar="STORE|RUN", help="feature store or run")],
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            metavar="VIDEO",
            help="name the Kinetics classes of a video with features of i3d-inception",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="FILE", help="where the weights of --classes are now"),
    ] = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Show what a feature store or a trained run holds, and how it was made.

    Examples:

    vad inspect runs/rtfm --json

    vad inspect features.zarr --classes fight1
    """
    if classes is not None:
        _show_classes(path, classes, weights, offline=offline, as_json=as_json)
        return
    from vad.stages.train.card import CARD, read_card

    found = read_card(Path(path)).to_dict() if Path(path, CARD).exists() else describe_store(path)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        typer.echo("\n".join(_lines(found)))
    if found.get("n_damaged"):
        typer.echo(f"move the damaged videos out: vad verify {path} --repair", err=True)
        raise typer.Exit(VideoError.exit_code)


def _show_classes(
    path: str, video_id: str, weights: str | None, *, offline: bool, as_json: bool
) -> None:
    from vad.stages.extract.classes import classes_of
    from vad.store import FeatureStore

    found = classes_of(FeatureStore.open(path), video_id, weights=weights, offline=offline)
    if as_json:
        typer.echo(json.dumps([asdict(seen) for seen in found]))
        return
    typer.echo(f"{video_id}: likely classes of Kinetics-400, mean over the video; where highest")
    for seen in found:
        typer.echo(f"  {seen.chance:.2f}  {seen.name}, {seen.highest:.2f} at {seen.at_s:.1f} s")


def describe_store(path: str | Path) -> dict[str, Any]:
    """Return a store's videos and the provenance of its arrays; of a damaged video, its error."""
    from vad.stages.extract.outcome import Failures
    from vad.stages.extract.records import notes_on
    from vad.store import FeatureStore

    store = FeatureStore.open(path)
    shapes: dict[str, dict[str, str]] = {}

    def describe(video_id: str) -> dict[str, Any]:
        try:
            record = store.record(video_id)
            found = {
                name: " x ".join(map(str, store.info(video_id, name).shape))
                for name in store.names(video_id)
            }
        except VideoError as error:
            return {"damaged": str(error)}
        shapes[video_id] = found
        return {
            "frames": record.n_frames,
            "fps": round(record.fps, 3),
            "seconds": round(record.duration_s, 3),
            "size": f"{record.width}x{record.height}",
            "codec": record.codec,
            "decoder": record.decoder,
            **({"notes": "; ".join(notes)} if (notes := notes_on(record)) else {}),
            **found,
        }

    def made(name: str) -> Mapping[str, object] | None:
        found = store.provenance(name)
        return found.document if found else None

    ids = store.ids()
    videos = dict(zip(ids, store.map(describe, ids), strict=True))
    names = Counter(name for found in shapes.values() for name in found)
    return {
        "store": str(path),
        "n_videos": len(videos),
        "n_damaged": len(videos) - len(shapes),
        "n_failed": len(Failures(path).read()),
        "hours": round(sum(v.get("seconds", 0) for v in videos.values()) / 3600, 3),
        "arrays": {name: {"n_videos": n, "provenance": made(name)} for name, n in names.items()},
        "videos": videos,
    }


def _lines(value: Any, indent: str = "") -> list[str]:
    """Return nested values as indented `name: value` lines. An inner dictionary of plain values
    takes one line.
    """
    lines = []
    for name, item in value.items():
        if isinstance(item, dict) and item:
            if all(not isinstance(v, dict | list) for v in item.values()) and indent:
                flat = ", ".join(f"{k} {_plain(v)}" for k, v in item.items())
                lines.append(f"{indent}{name}: {flat}")
            else:
                lines += [f"{indent}{name}:", *_lines(item, indent + "  ")]
        elif isinstance(item, list | tuple) and item and all(isinstance(x, dict) for x in item):
            if any(isinstance(v, dict | list | tuple) for v in item[0].values()):
                for index, inner in enumerate(item):
                    lines += [f"{indent}{name}[{index}]:", *_lines(inner, indent + "  ")]
                continue
            lines.append(f"{indent}{name}: {len(item)}")
            lines += [
                f"{indent}  {', '.join(_plain(v) for v in x.values() if v != '')}" for x in item
            ]
        else:
            lines.append(f"{indent}{name}: {_plain(item)}")
    return lines


def _plain(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return "".join(c if c.isprintable() else "?" for c in text)
