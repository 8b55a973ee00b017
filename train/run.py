"""A run folder: what `vad train` writes and everything later reads.

    runs/rtfm/
      card.json                        what the run is and how it was made: see `card.py`
      members/0/detector.safetensors   weights of the chosen epoch, and the scaling of its input
      history.csv, tensorboard/        the curves of the training, one row per epoch

Nothing is pickled: safetensors holds tensors, the card is JSON. Runs of vad 0.1.0 have their one
`detector.safetensors` beside the card.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from vad.checkpoints import read_safetensors
from vad.device import choose_device
from vad.errors import UsageError
from vad.files import committed

from .card import CARD, Card, Member, read_card
from .detectors import Detector, create_detector
from .settings import SmoothingRule
from .streams import KINDS, Inputs, Scaling

WEIGHTS = "detector.safetensors"
PREFIXES = {"visual": "scaling.", "text": "text_scaling."}  # of the tensors of a stream's scaling
LONG_SNIPPETS = 1024  # longer videos are scored a crop at a time: attention grows with the square

Arrays = Mapping[str, NDArray[Any]]  # streams [snippets, crops, dim] of one video, by kind


@dataclass(frozen=True)
class TrainedMember:
    """One detector of a run with its weights, ready to score."""

    card: Member
    detector: Detector
    inputs: Inputs

    @classmethod
    def load(cls, card: Member, weights: Path, where: str, device: torch.device) -> TrainedMember:
        """A member with its weights; UsageError, naming `where` in the card, if they differ."""
        tensors = read_safetensors(weights)
        own = with_prefix(tensors, "detector.")
        try:
            with torch.device("meta"):  # sizes that the card makes up take no memory
                expected = _create(card).state_dict()
            if misfit := _misfit(expected, own):
                raise RuntimeError(misfit)
            detector = _create(card)
            detector.load_state_dict(own)
        except (RuntimeError, UsageError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(
                f"{where}: visual_dim, text_dim or settings do not fit {weights}: {reason}"
            ) from None
        scalings: dict[str, Scaling] = {}
        for stream in card.streams:
            scaling = Scaling.from_tensors(with_prefix(tensors, PREFIXES[stream.kind]))
            if scaling.features_dim not in (None, stream.dim):
                raise UsageError(
                    f"{where}: dim of {stream.name} is {stream.dim}, but {weights} scales "
                    f"{scaling.features_dim} values"
                )
            scalings[stream.kind] = scaling
        inputs = Inputs(scalings, apart=detector.text_dim is not None)
        widths: dict[str, int] = {stream.kind: stream.dim for stream in card.streams}
        enough = not inputs.apart or len(widths) == len(KINDS)
        if not enough or inputs.dims(widths) != (card.visual_dim, card.text_dim):
            raise UsageError(
                f"{where}: visual_dim {card.visual_dim} and text_dim {card.text_dim} do not fit "
                f"streams of {widths}"
            )
        return cls(card, detector.eval().to(device), inputs.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """What its weights file holds."""
        tensors = {f"detector.{n}": t for n, t in self.detector.state_dict().items()}
        for kind, scaling in self.inputs.scalings.items():
            tensors |= {f"{PREFIXES[kind]}{n}": t for n, t in scaling.tensors().items()}
        return tensors

    @torch.inference_mode()
    def score(self, streams: Arrays) -> NDArray[np.float32]:
        """Snippet scores [snippets] in [0, 1] of one video from all streams that it reads."""
        features, sentences = self.inputs.of_arrays(
            {stream.kind: streams[stream.kind] for stream in self.card.streams}
        )
        parts = features.split(1, dim=1) if features.shape[2] > LONG_SNIPPETS else (features,)
        scores = self.detector.join_crops([self.detector(part, sentences) for part in parts])[0]
        return smooth(scores.float().cpu().numpy(), self.card.smoothing, self.card.smoothing_rule)


def _create(card: Member) -> Detector:
    return create_detector(
        card.detector,
        visual_dim=card.visual_dim,
        text_dim=card.text_dim,
        settings=card.settings,
    )


def _misfit(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """In words, the first tensor that is missing, left over or of another shape; arrays that a
    detector keeps beside its weights may have any number of rows."""
    for name, tensor in expected.items():
        if name not in found:
            return f"it has no {name}"
        if found[name].shape != tensor.shape and not name.startswith(("dictionary", "prompts")):
            return f"{name} is {list(found[name].shape)} there and {list(tensor.shape)} by the card"
    return ""


class Run:
    """A trained run with its card, ready to score. Use `open`."""

    def __init__(self, path: Path, card: Card, members: Sequence[TrainedMember]) -> None:
        self.path, self.card, self.members = path, card, tuple(members)

    @classmethod
    def open(cls, path: str | Path, device: str = "cpu") -> Run:
        """Load a run folder; UsageError if it is none, or its weights do not fit its card."""
        path = Path(path)
        card, chosen = read_card(path), choose_device(device)
        members = [
            TrainedMember.load(
                member, weights_file(path, index), f"{path / CARD}: members[{index}]", chosen
            )
            for index, member in enumerate(card.members)
        ]
        return cls(path, card, members)

    def save(self) -> None:
        """Write weights and card; the card comes last, a folder with one is a finished run."""
        for index, member in enumerate(self.members):
            save_tensors(member_folder(self.path, index) / WEIGHTS, member.tensors())
        self.card.write(self.path / CARD)
        (self.path / WEIGHTS).unlink(missing_ok=True)  # of a run of vad 0.1.0 that is replaced

    def __repr__(self) -> str:
        return "\n".join([f"Run {self.path}", *(f"  {n}: {v}" for n, v in self.facts().items())])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in self.facts().items()
        )
        return f"<table><caption>Run {escape(str(self.path))}</caption>{rows}</table>"

    def facts(self) -> dict[str, str]:
        """In words: what it is, what it reads, what chose its epoch and threshold."""
        card, counts = self.card, {part: len(v) for part, v in self.card.videos.items() if v}
        reads = (f"{s.name} ({s.dim} values a snippet)" for s in card.streams.values())
        figures = [
            f"{name.partition('/')[2].replace('_', ' ')} {value:.4f}"
            for name, value in card.selection.figures.items()
            if not name.startswith("train/")
        ]
        epoch = "" if card.selection.epoch is None else f"epoch {card.selection.epoch}, "
        facts = {
            "detector": f"{card.detector}, {card.n_parameters:,} parameters",
            "reads": " and ".join(reads),
            "videos": ", ".join(f"{n} {part}" for part, n in counts.items()),
            "chosen": f"{epoch}on {card.selection.on}",
            "figures": ", ".join(figures),
            "doubt": card.selection.doubt,
            "threshold": f"{self.threshold:.4f}",
        }
        return {name: fact for name, fact in facts.items() if fact}

    @property
    def name(self) -> str:
        """What results call it: the name of its folder."""
        return self.path.resolve().name

    @property
    def threshold(self) -> float:
        """The score from which a frame is flagged, chosen on the validation videos."""
        return self.card.threshold

    @property
    def names(self) -> dict[str, str]:
        """The arrays of a store that it reads, by kind: {"visual": "visual/i3d"}."""
        streams = self.card.streams
        return {kind: streams[kind].name for kind in KINDS if kind in streams}

    @property
    def only(self) -> TrainedMember:
        """The member of a run of one; UsageError for a run of several."""
        if len(self.members) > 1:
            raise UsageError(
                f"{self.path} has {len(self.members)} members, this takes a run of one"
            )
        return self.members[0]

    def find_store(self, given: str | Path | None = None) -> str | Path:
        """The store that is given, or the one of the card if it lies in the run's project folder.

        A card may come from anyone and name any place, so nothing outside that folder is opened.
        Raises UsageError where the store has to be named.
        """
        if given is not None:
            return given
        project, hint = project_folder(self.path), self.card.store
        with contextlib.suppress(OSError, ValueError):
            path = (project / (hint or "")).resolve()
            if hint and path.is_relative_to(project) and path.is_dir():
                return path
        said = f"was trained on {hint}, which" if hint else "names no store that"
        raise UsageError(
            f"{self.path} {said} is not in its project folder {project}",
            hint="name the store: --store STORE",
        )

    def score(
        self, visual: NDArray[Any] | None = None, text: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Snippet scores of one video, from the streams that the run was trained on.

        visual [snippets, crops, dim] and text [snippets, dim] as stored -> [snippets] in [0, 1]:
        the mean over crops and over the neighbours within the run's `smoothing`, and the weighted
        mean over its members. Raises UsageError where a stream is missing or scores are not finite.
        """
        text = text if text is None else text.reshape(len(text), 1, -1)
        given = {"visual": visual, "text": text}
        streams = {kind: stream for kind in self.names if (stream := given[kind]) is not None}
        if len(streams) < len(self.names):
            raise UsageError(f"{self.path} reads {' and '.join(self.names.values())}")
        each = [member.score(streams) for member in self.members]
        weights = [member.card.weight for member in self.members]
        scores = np.average(each, axis=0, weights=weights).astype(np.float32)
        if not np.isfinite(scores).all():
            raise UsageError(
                f"{self.path} gives scores that are no numbers",
                hint="its weights, its settings or the features are damaged",
            )
        return np.asarray(scores)


def member_folder(run: Path, index: int) -> Path:
    """Where the weights of a member are."""
    return run / "members" / str(index)


def project_folder(run: Path) -> Path:
    """The folder that a run belongs to: the one that holds `runs/`, else the one around the run."""
    path = run.resolve()
    return next((above for above in path.parents if above.name == "runs"), path).parent


def store_hint(run: Path, store: str) -> str:
    """How the card of a run names a store: seen from the project folder, if it lies in that."""
    if "://" in store:
        return store
    project, path = project_folder(run), Path(store).resolve()
    return path.relative_to(project).as_posix() if path.is_relative_to(project) else str(path)


def weights_file(run: Path, index: int) -> Path:
    """The weights file of a member; a run of vad 0.1.0 has its only one beside the card."""
    path = member_folder(run, index) / WEIGHTS
    old = run / WEIGHTS
    return old if index == 0 and old.exists() and not path.exists() else path


def smooth(
    scores: NDArray[np.float32], reach: int, rule: SmoothingRule = "centred"
) -> NDArray[np.float32]:
    """Scores [snippets] averaged over time; a reach of 0 leaves them.

    "centred": the mean of every score and those within `reach`, the nearer the more; fewer at the
    ends; a reach of 1 weighs them 1, 2, 1. The other two are PEL4VAD's at test time, which take
    zeros after the end: "slide" is the mean of a score and the `reach` - 1 after it, "fixed" that
    of its block of `reach` scores.
    """
    if rule == "centred" or reach == 0:
        window = np.bartlett(2 * reach + 3)[1:-1]
        sums = np.convolve(scores, window)[reach : reach + len(scores)]
        counts = np.convolve(np.ones(len(scores)), window)[reach : reach + len(scores)]
        return np.asarray(sums / counts, np.float32)
    padded = np.pad(scores.astype(np.float64), (0, reach - 1))
    if rule == "slide":
        return np.convolve(padded, np.full(reach, 1 / reach), "valid").astype(np.float32)
    blocks = padded[: len(padded) // reach * reach].reshape(-1, reach).mean(1)
    return np.repeat(blocks, reach)[: len(scores)].astype(np.float32)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors whole or not at all."""
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    with committed(path) as part:
        part.write_bytes(save(plain))  # save_file would raise no OSError where the disk is full


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with a prefix, without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
