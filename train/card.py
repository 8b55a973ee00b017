"""The card of a run: what `card.json` says, read once and checked once. No torch here.

Schema `vad.run/2`: the members of the run, each a detector with the features that it reads, its
settings and its weight in the score; how it was trained, on which videos, what chose its epoch and
threshold. Cards of schema `vad.run/1` (vad 0.1.0) are read as cards of one member.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from vad.config import build
from vad.documents import parse
from vad.errors import UsageError
from vad.files import write_json
from vad.labels import Label
from vad.version import VERSION

from .detectors.table import find_row
from .settings import MAX_SMOOTHING, SmoothingRule, TrainSettings

SCHEMA, SCHEMA_1 = "vad.run/2", "vad.run/1"
CARD = "card.json"

Kind = Literal["visual", "text"]
Provenance = Mapping[str, object]  # of an array, as the store keeps it
Videos = Mapping[str, tuple[Label, ...]]  # of each split: train, validation, test


@dataclass(frozen=True)
class Stream:
    """Stored features that a member reads."""

    name: str  # of the array in a store: "visual/i3d"
    dim: int  # values of a snippet
    crops: int | None = None  # of the training features; None: not known, or text
    provenance: Provenance | None = None  # None: not known, as for most imported weights

    def __post_init__(self) -> None:
        kind, _, rest = self.name.partition("/")
        if kind not in ("visual", "text") or not rest:
            raise ValueError(f"name is {self.name!r}, expected visual/NAME or text/NAME")
        _at_least(1, "dim", self.dim)
        _at_least(1, "crops", self.crops)

    @property
    def kind(self) -> Kind:
        """ "visual" or "text"."""
        return "visual" if self.name.startswith("visual/") else "text"


@dataclass(frozen=True)
class Member:
    """One detector of a run. Its weights are in `members/N/`."""

    detector: str
    settings: Mapping[str, object]  # of the detector
    visual_dim: int  # width that the detector is made for, after scaling
    text_dim: int | None
    streams: tuple[Stream, ...]
    smoothing: int = 0  # see `run.smooth`
    smoothing_rule: SmoothingRule = "centred"
    weight: float = 1.0  # in the score of the run

    def __post_init__(self) -> None:
        try:
            row = find_row(self.detector)
        except UsageError as error:
            raise ValueError(f"detector: {error}") from None
        try:
            build(row.settings, self.settings, where="settings")
        except UsageError as error:
            raise ValueError(str(error)) from None
        _at_least(1, "visual_dim", self.visual_dim)
        _at_least(1, "text_dim", self.text_dim)
        kinds = [stream.kind for stream in self.streams]
        if not kinds or len(set(kinds)) < len(kinds):
            raise ValueError("streams must be one of visual features, one of text, or both")
        if not 0 <= self.smoothing <= MAX_SMOOTHING:
            raise ValueError(f"smoothing is {self.smoothing}, expected 0 to {MAX_SMOOTHING}")
        if self.weight <= 0:
            raise ValueError(f"weight is {self.weight}, expected more than 0")

    @property
    def names(self) -> dict[str, str]:
        """The arrays of a store that it reads, by kind: {"visual": "visual/i3d"}."""
        return {stream.kind: stream.name for stream in self.streams}


@dataclass(frozen=True)
class Selection:
    """What chose the epoch and the threshold."""

    on: str  # "validation" or "test"; in other words where neither chose
    epoch: int | None = None
    figures: Mapping[str, float] = field(default_factory=dict)  # of that epoch
    videos: Mapping[str, int] = field(default_factory=dict)  # how many of either label
    doubt: str = ""  # why the choice is little better than chance


@dataclass(frozen=True)
class Imported:
    """The file that imported weights came from."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Card:
    """All that a run knows of itself."""

    members: tuple[Member, ...]
    selection: Selection
    threshold: float  # score from which a frame is flagged, 0 to 1
    training: TrainSettings | None  # None: imported weights
    videos: Videos
    store: str | None = None  # a hint: where the features were, seen from the project folder
    labels: str | None = None  # file that the videos were labelled in
    imported: Imported | None = None
    n_parameters: int = 0
    created: str = ""
    vad: str = VERSION

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("members is empty, expected at least one")
        arrays = {(stream.kind, stream.name) for m in self.members for stream in m.streams}
        if len({kind for kind, _ in arrays}) < len(arrays):
            raise ValueError("members read several arrays of one kind, which this vad cannot")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}, expected 0 to 1")
        last = self.training.epochs if self.training else None
        epoch = self.selection.epoch
        if epoch is not None and (epoch < 0 or (last is not None and epoch > last)):
            raise ValueError(f"selection.epoch is {epoch}, expected 0 to {last}")
        for part, labels in self.videos.items():
            for index, label in enumerate(labels):
                where = f"videos.{part}[{index}]"
                if label.label not in (0, 1):
                    raise ValueError(f"{where}.label is {label.label}, expected 0 or 1")
                if not label.video:
                    raise ValueError(f"{where}.video is empty")

    @property
    def detector(self) -> str:
        """The names of its detectors, in words."""
        return " and ".join(dict.fromkeys(member.detector for member in self.members))

    @property
    def streams(self) -> dict[Kind, Stream]:
        """The features that its members read, by kind."""
        return {stream.kind: stream for member in self.members for stream in member.streams}

    def to_dict(self) -> dict[str, object]:
        """The JSON object of `card.json`."""
        videos = {
            part: [{"video": x.video, "label": x.label, "category": x.category} for x in labels]
            for part, labels in self.videos.items()
        }
        return {"schema": SCHEMA, **asdict(self), "videos": videos}

    def write(self, path: Path) -> None:
        """Write the card as a JSON file, whole or not at all."""
        write_json(path, self.to_dict())


def differing_fields(one: object, other: object, but: Sequence[str] = ()) -> list[str]:
    """The fields in which two dataclasses of one type differ, apart from some."""
    names = [f.name for f in fields(other) if f.name not in but]  # type: ignore[arg-type]  # of one
    return [name for name in names if getattr(one, name, None) != getattr(other, name)]


def now() -> str:
    """The time, as a card writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _at_least(least: int, name: str, value: int | None) -> None:
    if value is not None and value < least:
        raise ValueError(f"{name} is {value}, expected at least {least}")


def read_card(folder: Path) -> Card:
    """The card of a run; UsageError, naming the field, if there is none or it is damaged."""
    if not (folder / CARD).is_file():
        raise UsageError(
            f"{folder} is no run: it has no {CARD}", hint="name a folder that vad train wrote"
        )
    return read_card_file(folder / CARD)


def read_card_file(path: Path) -> Card:
    """A card from its file; UsageError as for `read_card`."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema not in (SCHEMA, SCHEMA_1):
        raise UsageError(
            f"{path}: schema is {schema!r}, this vad reads {SCHEMA} and {SCHEMA_1}",
            hint="use the version of vad that wrote it",
        )
    try:
        return parse(Card, document) if schema == SCHEMA else _of_schema_1(document)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None


# --- schema vad.run/1


@dataclass(frozen=True)
class _Detector1:
    name: str
    visual_dim: int
    text_dim: int | None
    settings: Mapping[str, object]

    def __post_init__(self) -> None:
        _at_least(1, "visual_dim", self.visual_dim)
        _at_least(1, "text_dim", self.text_dim)


@dataclass(frozen=True)
class _Features1:
    store: str | None
    visual: str | None
    crops: int | None
    dim: int | None
    provenance: Provenance | None
    text: str | None
    text_dim: int | None
    text_provenance: Provenance | None

    def __post_init__(self) -> None:
        for kind, dim in (("visual", "dim"), ("text", "text_dim")):
            name = getattr(self, kind)
            if name is not None and not name.startswith(f"{kind}/"):
                raise ValueError(f"{kind} is {name!r}, expected {kind}/NAME")
            if name is not None and getattr(self, dim) is None:
                raise ValueError(f"{dim} is null, expected a whole number")
            _at_least(1, dim, getattr(self, dim))
        _at_least(1, "crops", self.crops)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The features that the one member reads."""
        visual = (self.visual, self.dim, self.crops, self.provenance)
        text = (self.text, self.text_dim, None, self.text_provenance)
        return tuple(
            Stream(name, dim, crops, made)
            for name, dim, crops, made in (visual, text)
            if name is not None and dim is not None
        )


@dataclass(frozen=True)
class _Data1:
    labels: str | None
    train: tuple[Label, ...]
    validation: tuple[Label, ...]
    test: tuple[Label, ...]


@dataclass(frozen=True)
class _Smoothing1:
    smoothing: int


@dataclass(frozen=True)
class _Card1:
    detector: _Detector1
    training: Mapping[str, object]
    features: _Features1
    data: _Data1
    selection: Selection
    threshold: float
    n_parameters: int
    vad: str
    created: str
    imported: Imported | None = None


def _of_schema_1(document: Mapping[str, object]) -> Card:
    """A card of one member; ValueError names the field that is wrong."""
    old = parse(_Card1, document)
    settings = dict(old.detector.settings)
    if old.detector.name == "s3r":  # its classifier had this width for features of any width
        settings.setdefault("hidden", 512)
    member = Member(
        old.detector.name,
        settings,
        old.detector.visual_dim,
        old.detector.text_dim,
        old.features.streams,
        parse(_Smoothing1, old.training, "training").smoothing,
    )
    return Card(
        (member,),
        old.selection,
        old.threshold,
        parse(TrainSettings, old.training, "training") if old.imported is None else None,
        {"train": old.data.train, "validation": old.data.validation, "test": old.data.test},
        store=old.features.store,
        labels=old.data.labels,
        imported=old.imported,
        n_parameters=old.n_parameters,
        created=old.created,
        vad=old.vad,
    )
