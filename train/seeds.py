"""Runs of one training with several seeds: `vad train --seeds 0-4`.

runs/rtfm/
  seeds.json        what all of these runs were asked to be
  seed-0/           a run, like any other
  seed-1/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from vad.documents import read_json
from vad.errors import UsageError
from vad.files import write_json

from .card import CARD

PLAN = "seeds.json"
LARGEST = 2**32 - 1
MOST = 1000  # seeds of one command


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that a text such as "0-4" or "0,2,7-9" names, in its order.

    Raises UsageError if the text names none, the same one twice, or too many.
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", part.strip(), re.ASCII)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not first <= last <= LARGEST:
            raise UsageError(f"{part!r} names no seeds", hint="write --seeds 0-4 or --seeds 0,1,2")
        if last - first >= MOST or len(seeds) + last - first >= MOST:
            raise UsageError(f"{text!r} names more than {MOST} seeds")
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"{text!r} names a seed twice")
    return seeds


def folder_of(runs: Path, seed: int) -> Path:
    """Return the run folder of a seed."""
    return runs / f"seed-{seed}"


def runs_of(runs: Path) -> list[Path]:
    """Return the folders of the finished runs of seeds in a folder, by seed; [] if it has none."""
    if not (runs / PLAN).exists():
        return []
    found = [path.parent for path in runs.glob(f"seed-*/{CARD}")]
    numbered = {
        int(n): path for path in found if (n := path.name.removeprefix("seed-")).isdecimal()
    }
    return [numbered[seed] for seed in sorted(numbered)]


def begin(runs: Path, asked: Mapping[str, object], *, resume: bool) -> None:
    """Note what the runs of a folder are asked to be.

    With `resume`, raises UsageError if the runs that are there were asked to be something else: a
    table of both would compare nothing.
    """
    if resume and (runs / PLAN).exists():
        before = read_json(runs / PLAN)
        differ = [n for n in asked if not isinstance(before, dict) or before.get(n) != asked[n]]
        if differ:
            raise UsageError(
                f"{runs} was begun with another {differ[0]}",
                hint="use the same, or choose another --out",
            )
    write_json(runs / PLAN, asked)
