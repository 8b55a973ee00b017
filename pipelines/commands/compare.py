"""`vad compare`: check whether two sets of features are the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import Json

if TYPE_CHECKING:
    from vad.stages.extract.compare import Comparison

DIFFERENT = 1  # exit code, as cmp and diff use it
SHOWN = 5  # videos in the table


def command(
    a: Annotated[
        str, typer.Argument(metavar="A", help="feature store, or a file or folder of features")
    ],
    b: Annotated[
        str, typer.Argument(metavar="B", help="feature store, or a file or folder of features")
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="array of the stores, such as i3d or text/minilm")
    ] = None,
    layout: Annotated[
        str, typer.Option("--layout", help="layout of the files, as for vad import features")
    ] = "auto",
    axes: Annotated[
        str,
        typer.Option(
            "--axes", help="first two axes of the files: auto, snippets-crops or crops-snippets"
        ),
    ] = "auto",
    least: Annotated[
        float, typer.Option("--least", help="features with at least this cosine count as the same")
    ] = 0.999,
    as_json: Json = False,
) -> None:
    """Say whether two sets of features are the same: exit code 0 if so, 1 if not.

    Examples:

    vad compare features.zarr published/

    vad compare old.zarr new.zarr --name i3d --least 0.9999
    """
    from vad.verbs import compare

    found = compare(a, b, name=name, layout=layout, axes=axes, least=least)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        typer.echo("\n".join(_lines(found)))
    raise typer.Exit(0 if found.same else DIFFERENT)


def _lines(found: Comparison) -> list[str]:
    (crops_a, dim_a), (crops_b, dim_b) = found.shapes
    lines = [
        f"A       {found.names[0]}: {crops_a} crops, {dim_a}-d",
        f"B       {found.names[1]}: {crops_b} crops, {dim_b}-d",
        f"recipe  {_recipe(found)}",
    ]
    for field, (ours, theirs) in {**found.differing, **found.informing}.items():
        lines.append(f"        {field}: {ours} in A, {theirs} in B")
    lines.append(
        f"videos  {len(found.videos)} compared, {len(found.only[0])} only in A, "
        f"{len(found.only[1])} only in B"
    )
    return [*lines, *_numbers(found), _verdict(found)]


def _recipe(found: Comparison) -> str:
    if found.same_recipe is None:
        return "not known of both: only numbers are compared"
    return "the same" if found.same_recipe else f"differs in {', '.join(found.differing)}"


def _verdict(found: Comparison) -> str:
    what = "features" if found.videos else "recipe"
    return f"the same {what}" if found.same else f"not the same {what}"


def _numbers(found: Comparison) -> list[str]:
    from vad.stages.infer.times import timecode

    if found.shapes[0] != found.shapes[1]:
        return ["        crops or widths differ: there is no cosine between them"]
    worst = found.lowest
    if worst is None:
        return []
    mean = sum(v.mean for v in found.videos) / len(found.videos)
    norms = [sum(v.norms[side] for v in found.videos) / len(found.videos) for side in (0, 1)]
    lines = [
        f"cosine  mean {mean:.6f}, lowest {worst.lowest:.6f} (the same from {found.least} on)",
        f"norm    mean {norms[0]:.4g} in A, {norms[1]:.4g} in B",
    ]
    if found.crop_order:
        order = ", ".join(map(str, found.crop_order))
        lines.append(f"crops   those of B fit better in the order {order}")
    longer = [v for v in found.videos if v.n_snippets[0] != v.n_snippets[1]]
    if longer:
        lines.append(f"length  {len(longer)} videos have another number of snippets")
    lines.append("worst videos")
    for v in sorted(found.videos, key=lambda v: v.lowest)[:SHOWN]:
        ours, theirs = v.n_snippets
        length = f"{ours} snippets" if ours == theirs else f"{ours} and {theirs} snippets"
        lines.append(
            f"        {v.video}: {length}, mean {v.mean:.6f}, lowest {v.lowest:.6f} in snippet "
            f"{v.worst_snippet} at {timecode(v.worst_s)}, crop {v.worst_crop}"
        )
    return lines
