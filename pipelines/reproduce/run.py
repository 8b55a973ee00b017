"""Run the commands of a row, and compare the measured figures with the published ones."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from vad.errors import UsageError, VadError
from vad.files import write_json
from vad.stages.train.card import read_card

from .plan import Plan, Step, departures, make_plan
from .rows import FEATURES, FIGURES, PublishedRow, find_published

log = logging.getLogger("vad")

SCHEMA = "vad.reproduction/1"


@dataclass(frozen=True)
class Result:
    """Measured and published figures of a row, in percent, with all caveats of the comparison."""

    name: str
    row: PublishedRow
    plan: Plan
    measured: dict[str, float | None]
    counts: tuple[int, int]  # anomalous frames, frames
    departures: list[str]

    def to_dict(self) -> dict[str, object]:
        """Return all fields in the schema `vad.reproduction/1`."""
        truth = FEATURES[self.row.features].truth
        return {
            "schema": SCHEMA,
            "row": self.name,
            "source": self.row.source,
            "commands": [str(step) for step in self.plan.steps],
            "figures": {
                figure: {"published": published, "measured": self.measured[figure]}
                for figure, published in self.row.figures.items()
            },
            "truth": {"published": truth and list(truth), "measured": list(self.counts)},
            "caveats": list(self.row.caveats),
            "departures": self.departures,
        }

    def table(self) -> str:
        """Return the comparison as lines for people to read."""
        lines = [f"{'':22}published  measured"]
        for figure, published in self.row.figures.items():
            value = self.measured[figure]
            measured = "-" if value is None else f"{value:.2f}"
            lines.append(f"{figure:22}{published:9.2f}  {measured:>8}")
        if truth := FEATURES[self.row.features].truth:
            counted = f"{self.counts[0]:,} of {self.counts[1]:,}"
            lines.append(f"truth: {counted} frames anomalous; {truth[0]:,} of {truth[1]:,} there")
        lines += [f"note: {caveat}" for caveat in self.row.caveats]
        return "\n".join(lines + [f"departs: {what}" for what in self.departures])


def reproduce(
    name: str,
    out: str | Path | None = None,
    *,
    root: str | Path = ".",
    features: str | Path | None = None,
    text: str | Path | None = None,
    weights: str | Path | None = None,
    dictionary: str | Path | None = None,
    settings: Sequence[str] = (),
) -> Result:
    """Run the commands of a published row; a step whose result exists is not run again.

    root: the folder of the lists and annotations; the other paths are those that the row needs.
    settings: each `name=value`, changes to the training, which are listed with the result. Raises
    UsageError if a file is missing, with what to obtain and from whom, or if the row cannot be
    reproduced.
    """
    row = find_published(name)
    given = {"features": features, "text": text, "weights": weights, "dictionary": dictionary}
    paths = {n: None if path is None else Path(path) for n, path in given.items()}
    folder = Path(out or Path("runs", "reproduce", name))
    plan = make_plan(row, folder, root=Path(root), settings=settings, **paths)
    if not row.can_run:
        raise UsageError(f"{name} cannot be reproduced: {'; '.join(row.caveats)}")
    if plan.missing:
        wanted = ", ".join(need.option for need in plan.missing)
        hint = f"vad reproduce {name} --dry-run says what they are, and who has them"
        raise UsageError(f"{name} needs {wanted}", hint=hint)
    for step in plan.steps:
        if step.done is not None and step.done.exists():
            log.info("done before: %s", step)
        else:
            log.info("%s", step)
            _run(step)
    result = _compare(name, row, plan, settings)
    write_json(folder / "reproduction.json", result.to_dict())
    return result


def _run(step: Step) -> None:
    """Run a command, with its output on stderr. Raises VadError if it fails."""
    cli = import_module("vad.stages.pipelines.cli")  # which imports this module
    with redirect_stdout(sys.stderr):
        code = cli.run_command(step.argv)
    if code:
        raise VadError(f"{step} ended with exit code {code}")


def _compare(name: str, row: PublishedRow, plan: Plan, settings: Sequence[str]) -> Result:
    metrics = json.loads((plan.run / "evaluation-test" / "metrics.json").read_text("utf-8"))
    card = read_card(plan.run)
    measured: dict[str, float | None] = {}
    for figure in row.figures:
        groups, key = FIGURES[figure]
        found = metrics
        for group in groups.split("/"):
            found = found.get(group, {})  # without classes there is no mAP
        value = found.get(key)
        measured[figure] = None if value is None else round(100 * value, 4)
    counts = metrics["counts"]
    frames = (counts["n_anomalous_frames"], counts["n_frames"])
    return Result(name, row, plan, measured, frames, departures(row, card, settings))
