"""The card of a run: `card.json`, which tells what the run is and how it was trained.

Schema `vad.run/2` has the members of the run. A member is one detector with the features that it
reads, its settings and its weight in the score. The card also has the settings of the training, its
videos, and which videos the epoch and the threshold were chosen on. Cards of schema `vad.run/1`
(vad 0.1.0) are read as cards with one member. This module does not import torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from vad.config import build
from vad.documents import parse, read_json
from vad.errors import UsageError
from vad.files import write_json
from vad.labels import Label
from vad.store.metadata import Provenance
from vad.version import VERSION

from .detectors.table import find_row
from .heldout import HeldOut
from .rates import FrameRates
from .settings import MAX_SMOOTHING, SmoothingRule, TrainSettings

SCHEMA, SCHEMA_1 = "vad.run/2", "vad.run/1"
CARD = "card.json"
PAGE = "model-card.html"  # the card for people, which `vad train` and `vad card` write

Kind = Literal["visual", "text", "places"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Rows = TypeVar("Rows", bound=Any)  # an array of numpy or a tensor
Videos = Mapping[str, tuple[Label, ...]]  # labelled videos by split: train, validation, test


@dataclass(frozen=True)
class Stream:
    """A stored feature array that a member reads."""

    name: str  # name of the array in a store: "visual/i3d"
    dim: int  # feature values per snippet
    crops: int | None = None  # crops of the training features; None if not known, or for text
    provenance: Provenance | None = None  # None if not known, as for most imported weights
    columns: tuple[int, ...] = ()  # first column and the one after the last; () for all

    def __post_init__(self) -> None:
        kind, _, rest = self.name.partition("/")
        if kind not in KINDS or not rest:
            known = ", ".join(f"{kind}/NAME" for kind in KINDS)
            raise ValueError(f"name is {self.name!r}, expected one of {known}")
        _at_least(1, "dim", self.dim)
        _at_least(1, "crops", self.crops)
        if self.columns and (len(self.columns) != 2 or not 0 <= self.columns[0] < self.columns[1]):
            raise ValueError(f"columns is {list(self.columns)}, expected [first, last + 1]")
        if self.columns and self.columns[1] > self.dim:
            raise ValueError(f"columns is {list(self.columns)}, but dim is {self.dim}")

    def to_dict(self) -> dict[str, object]:
        """Return the JSON object of the stream in the card."""
        made = dict(self.provenance.document) if self.provenance else None
        return {
            "name": self.name,
            "dim": self.dim,
            "crops": self.crops,
            "provenance": made,
            "columns": list(self.columns),
        }

    @property
    def kind(self) -> Kind:
        """Return "visual", "text" or "places"."""
        return next(kind for kind in KINDS if self.name.startswith(f"{kind}/"))

    @property
    def input(self) -> Literal["visual", "text"]:
        """Return the input of the detector that the features enter."""
        return "text" if self.kind == "text" else "visual"

    @property
    def shown(self) -> str:
        """Return the name of the array, with the block or the columns that the member reads."""
        blocks = (self.provenance and self.provenance.blocks) or {}
        columns = tuple(self.columns)
        named = [name for name, block in blocks.items() if tuple(block) == columns]
        part = named[0] if named else f"{columns[0]} to {columns[1]}" if columns else ""
        return f"{self.name} [{part}]" if part else self.name

    @property
    def width(self) -> int:
        """Return the number of feature values per snippet that the member reads."""
        return self.columns[1] - self.columns[0] if self.columns else self.dim

    def of(self, rows: Rows) -> Rows:
        """Return the columns that the member reads, of rows [..., dim]: [..., width]."""
        if not self.columns:
            return rows
        first, stop = self.columns
        chosen: Rows = rows[..., first:stop]
        return chosen


@dataclass(frozen=True)
class Member:
    """One detector of a run. Its weights are in `members/N/`."""

    detector: str
    settings: Mapping[str, object]  # hyper-parameters of the detector
    visual_dim: int  # width of the visual input of the detector, after scaling
    text_dim: int | None
    streams: tuple[Stream, ...]
    smoothing: int = 0  # reach in snippets, see `run.smooth`
    smoothing_rule: SmoothingRule = "centred"
    weight: float = 1.0  # weight in the weighted mean that is the score of the run
    # mean and deviation of the logits of its scores on training videos; see `Calibration`
    centre: float = 0.0
    spread: float = 1.0

    def __post_init__(self) -> None:
        try:
            row = find_row(self.detector)
        except UsageError as error:
            own = "if a script or a package adds it, import or install that first"
            raise ValueError(f"detector: {error}; {own}") from None
        try:
            build(row.settings, self.settings, where="settings")
        except UsageError as error:
            raise ValueError(str(error)) from None
        _at_least(1, "visual_dim", self.visual_dim)
        _at_least(1, "text_dim", self.text_dim)
        inputs = [stream.input for stream in self.streams]
        if not inputs or len(set(inputs)) < len(inputs):
            raise ValueError("streams must be one of visual features, one of text, or both")
        if not 0 <= self.smoothing <= MAX_SMOOTHING:
            raise ValueError(f"smoothing is {self.smoothing}, expected 0 to {MAX_SMOOTHING}")
        if self.weight <= 0:
            raise ValueError(f"weight is {self.weight}, expected more than 0")
        if self.spread <= 0:
            raise ValueError(f"spread is {self.spread}, expected more than 0")

    def to_dict(self) -> dict[str, object]:
        """Return the JSON object of the member in the card."""
        return {**asdict(self), "streams": [stream.to_dict() for stream in self.streams]}


@dataclass(frozen=True)
class Selection:
    """A record of how the epoch and the threshold were chosen."""

    on: str  # "validation" or "test"; a phrase if no videos were used, as for imported weights
    epoch: int | None = None
    figures: Mapping[str, float] = field(default_factory=dict)  # metrics of the chosen epoch
    videos: Mapping[str, int] = field(default_factory=dict)  # number of videos used, by label
    doubt: str = ""  # warning that the choice is little better than chance; empty if there is none
    expected: str = ""  # what to expect of the run on videos like those it was trained on


@dataclass(frozen=True)
class Calibration:
    """How a run turns the scores of its members into the chance that a moment is anomalous.

    The logit of each member's score is standardised by `centre` and `spread` of the member. The
    weighted mean z of these becomes the chance 1 / (1 + exp(-(slope z + offset))), if half of the
    footage is anomalous; for another share, the log odds of the share are added.
    """

    slope: float
    offset: float
    prior: float = 0.5  # the share of the footage that is assumed to be anomalous

    def __post_init__(self) -> None:
        if self.slope <= 0:
            raise ValueError(f"slope is {self.slope}, expected more than 0")
        if not 0 < self.prior < 1:
            raise ValueError(f"prior is {self.prior}, expected more than 0 and less than 1")

    def chances(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the chances of combined scores z, both [...]."""
        return np.asarray(expit(self.slope * z + self.offset + logit(self.prior)))

    def combined(self, chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the combined scores of chances, both [...]: the inverse of `chances`."""
        return np.asarray((logit(chances) - self.offset - logit(self.prior)) / self.slope)


@dataclass(frozen=True)
class Stretch:
    """A stretch of time of a video, in seconds."""

    video: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class CameraRecord:
    """The footage of one camera that a run was calibrated on; see `cameras.py`."""

    name: str
    run_created: str  # when the run was trained
    seconds: float  # length of the footage
    left_out: tuple[Stretch, ...] = ()  # unlike the rest of it


@dataclass(frozen=True)
class Imported:
    """The file that imported weights came from."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Card:
    """The content of `card.json`: a run's members, threshold, training settings and videos."""

    members: tuple[Member, ...]
    selection: Selection
    threshold: float  # a frame is flagged if its score reaches this value, 0 to 1
    training: TrainSettings | None  # None for imported weights
    videos: Videos
    # store of the training features, relative to the project folder if it lies there
    store: str | None = None
    calibration: Calibration | None = None  # None: the score is the mean of the members' scores
    held_out: HeldOut | None = None  # None: the run was trained without cross-fitting
    kinds: tuple[str, ...] = ()  # kinds of anomaly that the run tells beside its members
    familiarity: str | None = None  # array by which videos are compared with the training videos
    training_fps: FrameRates | None = None  # of the training videos; None if not known
    labels: str | None = None  # file with the labels of the videos
    # number of reviewed events that were trained on, by verdict: confirmed, dismissed
    reviews: Mapping[str, int] = field(default_factory=dict)
    imported: Imported | None = None
    camera: CameraRecord | None = None  # None: the run is not calibrated for a camera
    n_parameters: int = 0
    created: str = ""
    vad: str = VERSION

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("members is empty, expected at least one")
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
        """Return the names of the detectors, joined by "and"."""
        return " and ".join(dict.fromkeys(member.detector for member in self.members))

    @property
    def streams(self) -> dict[str, Stream]:
        """Return the stored arrays that the members read, by name."""
        return {stream.name: stream for member in self.members for stream in member.streams}

    def of_kind(self, kind: Kind) -> list[Stream]:
        """Return the stored arrays of a kind that the members read."""
        return [stream for stream in self.streams.values() if stream.kind == kind]

    @property
    def keys(self) -> dict[str, str]:
        """Return the names of the arrays that the members read, each by a short key.

        The key is the kind, such as "visual", or the name itself if there are several of a kind.
        """
        kinds = Counter(stream.kind for stream in self.streams.values())
        return {
            name if kinds[stream.kind] > 1 else stream.kind: name
            for name, stream in self.streams.items()
        }

    def to_dict(self) -> dict[str, object]:
        """Return the JSON object that is written to `card.json`."""
        videos = {
            part: [
                {"video": x.video, "label": x.label, "category": x.category}
                | ({"source": x.source} if x.source else {})
                for x in labels
            ]
            for part, labels in self.videos.items()
        }
        card = {"schema": SCHEMA, **asdict(self), "videos": videos}
        card["members"] = [member.to_dict() for member in self.members]
        return card

    def write(self, path: Path) -> None:
        """Write the card as a JSON file; if this fails, the file is left as it was."""
        write_json(path, self.to_dict())


def differing_fields(one: object, other: object, but: Sequence[str] = ()) -> list[str]:
    """Return the names of the fields, except `but`, in which two dataclasses of one type differ."""
    names = [f.name for f in fields(other) if f.name not in but]  # type: ignore[arg-type]  # of one
    return [name for name in names if getattr(one, name, None) != getattr(other, name)]


def now() -> str:
    """Return the current time in UTC as an ISO 8601 string, as cards record it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _at_least(least: int, name: str, value: int | None) -> None:
    if value is not None and value < least:
        raise ValueError(f"{name} is {value}, expected at least {least}")


def read_card(folder: Path) -> Card:
    """Read the card of a run folder.

    Raises UsageError if there is none, or if it is damaged; the message names the field.
    """
    if not (folder / CARD).is_file():
        hint = "name a folder that vad train wrote"
        if seeds := sorted(folder.glob(f"seed-*/{CARD}")):
            hint = f"it holds runs of several seeds: name one, such as {seeds[0].parent}"
        raise UsageError(f"{folder} is no run: it has no {CARD}", hint=hint)
    return read_card_file(folder / CARD)


def read_card_file(path: Path) -> Card:
    """Read a card from its file. Raises UsageError like `read_card`."""
    document = read_json(path)
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
        """Return the features that the only member reads."""
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


def _of_schema_1(document: object) -> Card:
    """Convert a document of schema `vad.run/1` to a card with one member.

    Raises ValueError with the name of the field if a field is wrong.
    """
    old = parse(_Card1, document)
    settings = dict(old.detector.settings)
    if old.detector.name == "s3r":  # in vad 0.1.0 this width did not depend on the features
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
