"""A run folder: `vad train` writes it, and scoring, evaluation and export read it.

    runs/rtfm/
      card.json                        what the run is and how it was made: see `card.py`
      members/0/detector.safetensors   weights of the chosen epoch, and the scaling of its input
      kinds.safetensors                names for what it finds: see `naming.py`
      familiarity.safetensors          what its training videos look like: see `familiarity.py`
      history.csv                      metrics of the training, one row per epoch
      tensorboard/, wandb/             of the loggers of these names, see `callbacks.py`

There are no pickle files: weights are in safetensors, the card is JSON. Runs of vad 0.1.0 have a
single `detector.safetensors` beside the card.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from vad.checkpoints import read_safetensors
from vad.device import choose_device
from vad.errors import UsageError
from vad.files import committed
from vad.store import FeatureStore

from .card import CARD, PAGE, Card, Kind, Member, read_card
from .detectors import Detector, create_detector
from .familiarity import FILE, Familiarity
from .heldout import FOR_MORE, NormalFootage, duration
from .kinds import Kinds, mean_of
from .naming import FILE as NAMING_FILE
from .naming import Naming
from .seeds import PLAN as SEEDS
from .settings import SmoothingRule
from .streams import KINDS, Inputs, Scaling

log = logging.getLogger("vad")

WEIGHTS = "detector.safetensors"
BOARD = "tensorboard"  # folder of the logger of that name
STATE, PLAN = "state.safetensors", "plan.json"  # files of an unfinished run
UNFINISHED = "unfinished"  # folder of an unfinished run of several members
# What training writes or replaces; the last is the weights file of vad 0.1.0.
WRITTEN = {
    CARD,
    FILE,
    NAMING_FILE,
    STATE,
    PLAN,
    "history.csv",
    BOARD,
    "wandb",
    "members",
    WEIGHTS,
    UNFINISHED,
    PAGE,
}
# prefixes of the tensor names of a feature scaling, by kind
PREFIXES = {"visual": "scaling.", "text": "text_scaling."}
EDGE = 1e-6  # scores nearer to 0 or 1 have no larger logit
ARRAYS = ("dictionary", "prompts", "bank", "cells", "weights")  # tensors with any number of rows
# longer videos are scored crop by crop, as attention memory grows with the square of the length
LONG_SNIPPETS = 1024

Arrays = Mapping[str, NDArray[np.generic]]  # features [snippets, crops, dim] of one video


@dataclass(frozen=True)
class TrainedMember:
    """One detector of a run with its weights, ready to score."""

    card: Member
    detector: Detector
    inputs: Inputs

    @classmethod
    def load(cls, card: Member, weights: Path, where: str, device: torch.device) -> TrainedMember:
        """Load a member of a run with its weights from a safetensors file.

        Raises UsageError if the weights do not fit the card; `where` is the place in the card that
        the message names.
        """
        tensors = read_safetensors(weights)
        own = with_prefix(tensors, "detector.")
        try:
            # on "meta" no memory is allocated, however large the sizes in a damaged card
            with torch.device("meta"):
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
            scaling = Scaling.from_tensors(with_prefix(tensors, PREFIXES[stream.input]))
            if scaling.features_dim not in (None, stream.width):
                raise UsageError(
                    f"{where}: {stream.name} has {stream.width} values, but {weights} scales "
                    f"{scaling.features_dim}"
                )
            scalings[stream.input] = scaling
        inputs = Inputs(scalings, apart=detector.text_dim is not None)
        widths: dict[str, int] = {stream.input: stream.width for stream in card.streams}
        enough = not inputs.apart or len(widths) == len(KINDS)
        if not enough or inputs.dims(widths) != (card.visual_dim, card.text_dim):
            raise UsageError(
                f"{where}: visual_dim {card.visual_dim} and text_dim {card.text_dim} do not fit "
                f"streams of {widths}"
            )
        return cls(card, detector.eval().to(device), inputs.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the member's weights file, by name."""
        tensors = {f"detector.{n}": t for n, t in self.detector.state_dict().items()}
        for kind, scaling in self.inputs.scalings.items():
            tensors |= {f"{PREFIXES[kind]}{n}": t for n, t in scaling.tensors().items()}
        return tensors

    def score(self, arrays: Arrays) -> NDArray[np.float32]:
        """Return the scores [snippets] in [0, 1] of one video, smoothed over time.

        arrays: the stored arrays that the member reads, [snippets, crops, dim], by name.
        """
        return self.judge(arrays)[0]

    @torch.inference_mode()
    def judge(self, arrays: Arrays) -> tuple[NDArray[np.float32], Kinds | None]:
        """Return the scores [snippets] of `score`, and the kinds if the detector tells classes."""
        features, sentences = self.inputs.of_arrays(
            {stream.input: stream.of(arrays[stream.name]) for stream in self.card.streams}
        )
        splits = self.detector.joins_crops and features.shape[2] > LONG_SNIPPETS
        parts = features.split(1, dim=1) if splits else (features,)
        outputs = [self.detector(part, sentences) for part in parts]
        scores = self.detector.join_crops(outputs)[0].float().cpu().numpy()
        told = [output.kinds[0] for output in outputs if output.kinds is not None]
        kinds = None
        if told:
            shares = torch.stack(told).mean(0).float().cpu().numpy()
            kinds = Kinds(self.detector.classes, shares)
        return smooth(scores, self.card.smoothing, self.card.smoothing_rule), kinds

    def standardised(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the logits of scores [snippets], in deviations from their mean on training
        videos.
        """
        return (logit(scores) - self.card.centre) / self.card.spread


def logit(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return log(s / (1 - s)) of scores [...]; scores of 0 and 1 give large, finite numbers."""
    inside = np.clip(scores.astype(np.float64), EDGE, 1 - EDGE)
    return np.asarray(np.log(inside / (1 - inside)))


def _create(card: Member) -> Detector:
    return create_detector(
        card.detector,
        visual_dim=card.visual_dim,
        text_dim=card.text_dim,
        settings=card.settings,
    )


def _misfit(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Describe the first tensor that is missing or has another shape; "" if all fit.

    Arrays that a detector stores beside its weights may have any number of rows.
    """
    for name, tensor in expected.items():
        if name not in found:
            return f"it has no {name}"
        if found[name].shape != tensor.shape and name not in ARRAYS:
            return f"{name} is {list(found[name].shape)} there and {list(tensor.shape)} by the card"
    return ""


class Run:
    """A trained run, that is one or more detectors with a card, ready to score. Load it with
    `open`.
    """

    def __init__(
        self,
        path: Path,
        card: Card,
        members: Sequence[TrainedMember],
        familiarity: Familiarity | None = None,
        naming: Naming | None = None,
    ) -> None:
        self.path, self.card, self.members = path, card, tuple(members)
        self.familiarity = familiarity  # None if the run does not know its training videos
        self.naming = naming  # None if it does not tell kinds, or its members do

    @classmethod
    def open(cls, path: str | Path, device: str = "cpu") -> Run:
        """Load a run folder. Raises UsageError if it is no run, or if its weights do not fit its
        card.
        """
        path = Path(path)
        card, chosen = read_card(path), choose_device(device)
        members = [
            TrainedMember.load(
                member, weights_file(path, index), f"{path / CARD}: members[{index}]", chosen
            )
            for index, member in enumerate(card.members)
        ]
        known = Familiarity.load(path, card.familiarity) if card.familiarity else None
        naming = Naming.load(path) if card.kinds else None
        return cls(path, card, members, known, naming)

    def save(self) -> None:
        """Write the weights, then the card: a folder with a card is a finished run."""
        for index, member in enumerate(self.members):
            save_tensors(member_folder(self.path, index) / WEIGHTS, member.tensors())
        for left in (self.path / "members").iterdir():  # of a larger run that is replaced
            if left.name not in map(str, range(len(self.members))):
                shutil.rmtree(left)
        for file in (FILE, NAMING_FILE):
            (self.path / file).unlink(missing_ok=True)
        for part in (self.familiarity, self.naming):
            if part:
                part.save(self.path)
        self.card.write(self.path / CARD)
        # left by a run of vad 0.1.0 in the same folder
        (self.path / WEIGHTS).unlink(missing_ok=True)

    def __repr__(self) -> str:
        return "\n".join([f"Run {self.path}", *(f"  {n}: {v}" for n, v in self.facts().items())])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in self.facts().items()
        )
        return f"<table><caption>Run {escape(str(self.path))}</caption>{rows}</table>"

    def facts(self) -> dict[str, str]:
        """Describe the run in words: detector, features, videos, chosen epoch, metrics and
        threshold.
        """
        card, counts = self.card, {part: len(v) for part, v in self.card.videos.items() if v}
        reads = (f"{s.name} ({s.dim} values a snippet)" for s in card.streams.values())
        members = (
            f"{m.detector} on {' and '.join(s.shown for s in m.streams)}"
            f"{', near the same place' if m.settings.get('reach') is not None else ''}"
            f", weight {m.weight:.2g}"
            for m in card.members
        )
        figures = [f"{in_words(name)} {value:.4f}" for name, value in self.figures.items()]
        epoch = "" if card.selection.epoch is None else f"epoch {card.selection.epoch}, "
        camera = f"{card.camera.name}, {duration(card.camera.seconds)}" if card.camera else ""
        facts = {
            "camera": camera,
            "detector": f"{card.detector}, {card.n_parameters:,} parameters",
            "members": "; ".join(members) if len(card.members) > 1 else "",
            "reads": " and ".join(reads),
            "videos": ", ".join(
                f"{n} {'without labels' if card.camera else part}" for part, n in counts.items()
            ),
            "frame rate": f"{card.training_fps} frames per second" if card.training_fps else "",
            "reviews": ", ".join(f"{n} {verdict}" for verdict, n in card.reviews.items()),
            "chosen": f"{epoch}on {card.selection.on}",
            "figures": ", ".join(figures),
            "kinds": self.naming_words,
            "doubt": card.selection.doubt,
            "threshold": f"{self.threshold:.4f}",
        }
        return {name: fact for name, fact in facts.items() if fact}

    @property
    def figures(self) -> dict[str, float]:
        """Return the figures of held-out or validation videos by name, such as
        "heldout/video_auc": what is known of the run before it is evaluated.
        """
        known = self.card.selection.figures
        return {name: value for name, value in known.items() if not name.startswith("train/")}

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the names of the kinds of anomaly that the run tells; empty if it tells none."""
        if self.naming:
            return self.naming.names
        classes = {member.detector.classes for member in self.members if member.detector.classes}
        return next(iter(classes))[1:] if len(classes) == 1 else ()

    @property
    def naming_words(self) -> str:
        """Say which kinds the run tells, and how well it told those of held-out videos; "" if it
        tells none.
        """
        known = self.naming
        if known is None:
            return ""
        n_other = known.n_videos - known.n_named
        return (
            f"tells {', '.join(known.names)}: {known.n_right} of {known.n_videos} held-out "
            f"abnormal videos rightly named, {n_other} called other"
        )

    @property
    def name(self) -> str:
        """Return the name of the run folder, by which results refer to the run, and its camera."""
        path = self.path.resolve()
        camera = self.card.camera
        return f"{path.parent.parent.name}, camera {camera.name}" if camera else path.name

    @property
    def threshold(self) -> float:
        """Return the score from which on a frame is flagged, as chosen on the validation videos."""
        return self.card.threshold

    @property
    def prior(self) -> float | None:
        """Return the share of the footage that is assumed to be anomalous, or None if the scores
        of the run are no chances, as those of a camera.
        """
        card = self.card
        return card.calibration.prior if card.calibration and not card.camera else None

    @property
    def reach(self) -> int | None:
        """Return on how many snippets on either side the score of a snippet depends; None if on
        all.
        """
        for member in self.members:
            is_centred = member.card.smoothing_rule == "centred" or member.card.smoothing == 0
            if member.detector.looks_around or not is_centred:
                return None
        return max(member.card.smoothing for member in self.members)

    @property
    def normal_footage(self) -> NormalFootage | None:
        """Return how often held-out normal footage reaches a score, or None if it is not known."""
        held, calibration = self.card.held_out, self.card.calibration
        return held.normal.through(calibration.chances) if held and calibration else None

    def at(
        self,
        *,
        prior: float | None = None,
        threshold: float | None = None,
        false_alarms_per_s: float | None = None,
        recall: float | None = None,
    ) -> Run:
        """Return the same run with another prior, or another threshold, or both.

        prior: the share of the footage that is expected to be anomalous; the threshold moves with
        it, so that the same moments are flagged. A threshold is given as a score, as the number of
        times per second that normal footage may reach it, or as the share of abnormal videos that
        it finds. Raises UsageError if the run cannot tell, or if several thresholds are given.
        """
        ways = {"threshold": threshold, "false alarms": false_alarms_per_s, "recall": recall}
        if len(given := [name for name, value in ways.items() if value is not None]) > 1:
            raise UsageError(f"a threshold is given by {' and by '.join(given)}", hint="give one")
        card, calibration = self.card, self.card.calibration
        if prior is not None:
            if calibration is None or card.camera:
                raise UsageError(
                    f"the scores of {self.path} are no chances, and no prior changes them",
                    hint="leave --camera out, for those of the run"
                    if card.camera
                    else "train without --detector, for a calibrated run",
                )
            moved = replace(calibration, prior=prior)
            z = calibration.combined(np.array(card.threshold))
            card = replace(card, calibration=moved, threshold=float(moved.chances(z)))
        if threshold is not None:
            card = replace(card, threshold=threshold)
        elif given:
            if card.held_out is None or card.calibration is None:
                raise UsageError(
                    f"{self.path} has no scores of held-out videos, which tell its {given[0]}",
                    hint="train without --detector, or give --threshold",
                )
            if recall is not None:
                level = card.held_out.level_of_recall(recall)
            else:
                more = "calibrate with more footage" if card.camera else FOR_MORE
                level = card.held_out.normal.level_of(cast("float", false_alarms_per_s), more=more)
            card = replace(card, threshold=float(card.calibration.chances(np.array(level))))
        return Run(self.path, card, self.members, self.familiarity, self.naming)

    @property
    def names(self) -> dict[str, str]:
        """Return the store arrays that the run reads, by the keys of `Card.keys`."""
        return self.card.keys

    def left_out(self, store: FeatureStore) -> list[str]:
        """Return the names of the feature arrays in the store of its training that it leaves."""
        stored = store.names(self.card.videos["train"][0].video)
        kinds = get_args(Kind)
        return [n for n in stored if n.split("/")[0] in kinds and n not in self.card.streams]

    @property
    def only(self) -> TrainedMember:
        """Return the only member. Raises UsageError if the run has several."""
        if len(self.members) > 1:
            raise UsageError(
                f"{self.path} has {len(self.members)} members, this takes a run of one"
            )
        return self.members[0]

    def find_store(self, given: str | Path | None = None) -> str | Path:
        """Return `given`, or else the card's store, if it lies in the run's project folder.

        A card from someone else can name any path, so a store outside the project folder is not
        opened. Raises UsageError if no store is given and the card names none that may be opened.
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
        self,
        visual: NDArray[np.generic] | None = None,
        text: NDArray[np.generic] | None = None,
        **others: NDArray[np.generic],
    ) -> NDArray[np.float32]:
        """Return the snippet scores of one video, from the features that the run was trained on.

        visual is [snippets, crops, dim] and text [snippets, dim], as stored; others are arrays by
        the keys of `names`. The result is [snippets] in [0, 1]. A member's scores are averaged over
        crops and smoothed over time by its `smoothing`. The result is the weighted mean over the
        members, or their calibrated chance if the card has a calibration. Raises UsageError if a
        stream is missing or a score is not finite.
        """
        return self.judge(visual, text, **others)[0]

    def judge(
        self,
        visual: NDArray[np.generic] | None = None,
        text: NDArray[np.generic] | None = None,
        **others: NDArray[np.generic],
    ) -> tuple[NDArray[np.float32], Kinds | None]:
        """Return the scores [snippets] of `score`, and the kinds if members tell classes."""
        text = text if text is None else text.reshape(len(text), 1, -1)
        given = {"visual": visual, "text": text, **others}
        arrays = {
            name: array for key, name in self.names.items() if (array := given.get(key)) is not None
        }
        if len(arrays) < len(self.names):
            raise UsageError(f"{self.path} reads {' and '.join(self.names.values())}")
        scores, kinds = self._combined(arrays)
        if not np.isfinite(scores).all():
            raise UsageError(
                f"{self.path} gives scores that are no numbers",
                hint="its weights, its settings or the features are damaged",
            )
        return scores, kinds

    def _combined(self, arrays: Arrays) -> tuple[NDArray[np.float32], Kinds | None]:
        weights = [member.card.weight for member in self.members]
        each, kinds = zip(*(member.judge(arrays) for member in self.members), strict=True)
        told = [(k, w) for k, w in zip(kinds, weights, strict=True) if k is not None]
        joined = mean_of([k for k, _ in told], [w for _, w in told])
        calibration = self.card.calibration
        if calibration is None:
            return np.asarray(np.average(each, axis=0, weights=weights), np.float32), joined
        logits = [m.standardised(scores) for m, scores in zip(self.members, each, strict=True)]
        chances = calibration.chances(np.average(logits, axis=0, weights=weights))
        return np.asarray(chances, np.float32), joined


def in_words(figure: str) -> str:
    """Return the name of a figure for people: "video auc" for "heldout/video_auc"."""
    return figure.partition("/")[2].replace("_", " ")


def member_folder(run: Path, index: int) -> Path:
    """Return the folder with the weights of a member."""
    return run / "members" / str(index)


def tell_others(folder: Path) -> None:
    """Log a warning about files in a run's folder that no training writes, such as results of
    another run.
    """
    there = folder.iterdir() if folder.is_dir() else ()
    others = sorted(path.name for path in there if path.name not in WRITTEN)
    if others:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        log.warning("%s holds what is not of this run: %s", folder, shown)


def project_folder(run: Path) -> Path:
    """Return the folder that a run belongs to: the parent of `runs/`, or else that of the run.

    Runs of several seeds belong where their common folder does.
    """
    path = run.resolve()
    path = path.parent if (path.parent / SEEDS).exists() else path
    return next((above for above in path.parents if above.name == "runs"), path).parent


def store_hint(run: Path, store: str) -> str:
    """Return the store as a card records it: relative to the run's project folder if it lies there.

    A URL is returned unchanged, any other path as an absolute one.
    """
    if "://" in store:
        return store
    project, path = project_folder(run), Path(store).resolve()
    return path.relative_to(project).as_posix() if path.is_relative_to(project) else str(path)


def weights_file(run: Path, index: int) -> Path:
    """Return the path of a member's weights file; in runs of vad 0.1.0 it lies beside the card."""
    path = member_folder(run, index) / WEIGHTS
    old = run / WEIGHTS
    return old if index == 0 and old.exists() and not path.exists() else path


def smooth(
    scores: NDArray[np.float32], reach: int, rule: SmoothingRule = "centred"
) -> NDArray[np.float32]:
    """Return scores [snippets] averaged over time; with a reach of 0 they are unchanged.

    "centred" is a weighted mean of a score and its neighbours within `reach` snippets. The weights
    fall linearly with the distance (1, 2, 1 for a reach of 1), and at both ends of the video fewer
    neighbours count. The other two rules are those of PEL4VAD's test code, with zeros after the end
    of the video: "slide" is the mean of a score and the `reach` - 1 scores after it, "fixed" the
    mean of consecutive blocks of `reach` scores.
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
    """Write tensors to a safetensors file; if this fails, the file is left as it was."""
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    with committed(path) as part:
        part.write_bytes(save(plain))  # save_file would not raise OSError if the disk is full


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix; it is removed from their names."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
