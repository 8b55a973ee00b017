"""Make the commands that reproduce a row, and list the files that they need."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vad.datasets import DATASETS
from vad.stages.train.card import Card

from .rows import FEATURES, LISTS, PublishedFeatures, PublishedRow


@dataclass(frozen=True)
class Need:
    """A file or folder that the commands read and that the user has to obtain."""

    option: str  # command-line option that names it
    what: str
    origin: str
    is_there: bool

    def __str__(self) -> str:
        return f"{self.option}: {self.what}\n    from {self.origin}"


@dataclass(frozen=True)
class Step:
    """One command. It is skipped if the file `done` exists."""

    argv: tuple[str, ...]
    done: Path | None = None

    def __str__(self) -> str:
        return shlex.join(("vad", *self.argv))


@dataclass(frozen=True)
class Plan:
    """The files that a row needs, and its commands in order."""

    needs: list[Need]
    steps: list[Step]
    run: Path  # folder of the trained run that is evaluated

    @property
    def missing(self) -> list[Need]:
        return [need for need in self.needs if not need.is_there]


def make_plan(
    row: PublishedRow,
    out: Path,
    *,
    root: Path,
    features: Path | None = None,
    text: Path | None = None,
    weights: Path | None = None,
    dictionary: Path | None = None,
    settings: Sequence[str] = (),
) -> Plan:
    """Return the commands of a row. For a path that is not given, they contain a word such as
    FEATURES.
    """
    source = FEATURES[row.features]
    lists = root / source.dataset if (root / source.dataset).is_dir() else root
    needs = _needs(row, source, lists, features, text, weights, dictionary)
    store, run = out / "features.zarr", out / "run"
    labels = ("--labels", str(out / "labels.csv"))
    where = (str(lists),) if LISTS[source.dataset] else ()
    interval = ("--interval", source.interval) if source.interval else ()
    steps = [Step(("labels", source.dataset, *where, *interval, "--out", str(out)))]
    imports = [(str(features or "FEATURES"), source.layout)]
    if source.text:
        imports.append((str(text or "TEXT"), "tevad-text"))
    for folder, layout in imports:
        into = ("--store", str(store), "--origin", source.origin, *labels)
        steps.append(Step(("import", "features", folder, "--layout", layout, *into)))
    assign = [part for pair in settings for part in ("--set", pair)]
    measured = ["evaluate", str(run), "--segments", str(out / "segments.csv")]
    if row.train:
        made = ["train", str(store), *labels, *shlex.split(row.train), *assign, "--resume"]
    else:
        made = ["import", "detector", str(weights or "WEIGHTS"), "--store", str(store), *assign]
        made += ["--dictionary", str(dictionary or "DICTIONARY")] if row.dictionary else []
        measured += labels  # a run of weights lists no videos
    steps.append(Step((*made, "--out", str(run)), done=run / "card.json"))
    steps.append(Step(tuple(measured)))
    return Plan(needs, steps if row.can_run else [], run)


def _needs(
    row: PublishedRow,
    source: PublishedFeatures,
    lists: Path,
    features: Path | None,
    text: Path | None,
    weights: Path | None,
    dictionary: Path | None,
) -> list[Need]:
    handed_out = f"{source.origin}; {source.licence}"
    needs = [Need("--features DIR", source.about, handed_out, _there(features))]
    if source.text:
        about = "VIDEO_emb.npy [snippets, 768]"
        needs.append(Need("--text DIR", about, handed_out, _there(text)))
    if origin := LISTS[source.dataset]:
        known = DATASETS[source.dataset]
        parts = [known.test, known.annotations, *([known.train] if row.train else [])]
        complete = all(any((lists / name).exists() for name in part) for part in parts)
        needs.append(Need("--root DIR", f"the lists of {source.dataset}", origin, complete))
    if row.weights:
        needs.append(Need("--weights FILE", "published weights", row.weights, _there(weights)))
    if row.dictionary:
        about = "the dictionary of their training, .npy"
        needs.append(Need("--dictionary FILE", about, row.weights, _there(dictionary)))
    return needs


def _there(path: Path | None) -> bool:
    return path is not None and path.exists()


def departures(row: PublishedRow, card: Card, settings: Sequence[str]) -> list[str]:
    """Return, from its card, how a run differs from the published row, apart from the caveats."""
    source, found = FEATURES[row.features], []
    for stream in card.of_kind("visual")[:1]:
        pairs = (("dim", stream.dim, source.dim), ("crops", stream.crops, source.crops))
        for name, measured, published in pairs:
            if measured != published:
                found.append(f"features have {measured} {name}, those published {published}")
    return found + [f"trained with {pair}" for pair in settings]
