"""`vad reproduce`: run the commands of a published result, and compare measured with published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..options import Assign, Json

if TYPE_CHECKING:
    from ..reproduce.plan import Plan
    from ..reproduce.rows import PublishedRow


def command(
    row: Annotated[
        str | None,
        typer.Argument(metavar="[ROW]", help="published result; by default, all rows are listed"),
    ] = None,
    features: Annotated[
        Path | None, typer.Option("--features", metavar="DIR", help="the published features")
    ] = None,
    text: Annotated[
        Path | None, typer.Option("--text", metavar="DIR", help="the published text features")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="the published weights")
    ] = None,
    dictionary: Annotated[
        Path | None,
        typer.Option(
            "--dictionary", metavar="NPY", help="dictionary of S3R, for its published weights"
        ),
    ] = None,
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="lists and annotations of the data set")
    ] = Path("."),
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="folder for the results; by default runs/reproduce/ROW"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the commands and what they need")
    ] = False,
    as_json: Json = False,
    assign: Assign = None,
) -> None:
    """Run the commands of a published row, and compare its numbers with yours.

    If files are missing, it prints what to obtain and from whom. Without ROW, it lists all rows.

    Examples:

    vad reproduce

    vad reproduce rtfm-ucf-crime --features UCF_Test_ten_crop_i3d/ --dry-run
    """
    from vad.verbs import reproduce

    from ..reproduce.plan import make_plan
    from ..reproduce.rows import find_published

    if row is None:
        typer.echo(_listing_json() if as_json else _listing())
        return
    settings = assign or []
    given: dict[str, Any] = {
        "root": root,
        "features": features,
        "text": text,
        "weights": weights,
        "dictionary": dictionary,
    }
    published, folder = find_published(row), out or Path("runs", "reproduce", row)
    plan = make_plan(published, folder, settings=settings, **given)
    if dry_run or plan.missing:
        typer.echo(_description(row, published, plan), err=not dry_run)
    if dry_run:
        return
    result = reproduce(row, out, settings=settings, **given)
    typer.echo(json.dumps(result.to_dict()) if as_json else result.table())


def _description(name: str, row: PublishedRow, plan: Plan) -> str:
    lines = [f"{name}: {row.source}", _figures(row.figures)]
    lines += ["", *map(str, plan.steps)] if plan.steps else []
    lines += ["", *(f"note: {caveat}" for caveat in row.caveats)]
    lines += ["", "to obtain:", *(f"  {need}" for need in plan.missing)] if plan.missing else []
    return "\n".join(lines)


def _listing() -> str:
    from ..reproduce.rows import ROWS

    lines = []
    for name, row in ROWS.items():
        how = "weights" if row.weights else "trained" if row.train else "not reproducible"
        first = dict(list(row.figures.items())[:2])
        lines.append(f"{name:33}{_figures(first):37}{how:18}{row.source}")
    return "\n".join([*lines, "", "vad reproduce ROW --dry-run says the commands"])


def _listing_json() -> str:
    from dataclasses import asdict

    from ..reproduce.rows import ROWS

    return json.dumps({name: asdict(row) for name, row in ROWS.items()})


def _figures(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
