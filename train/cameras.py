"""What a run learns of one camera from ordinary, unlabelled footage of it: `vad calibrate`.

    runs/NAME/cameras/gate/      a run of its own, which `--camera gate` opens
      card.json                  the run's trained members, `normality` members, threshold
      members/N/                 weights of the trained members, and banks of this footage
      familiarity.safetensors    what this footage looks like

The footage is cut into five parts. A snippet is scored by banks that are made of the other parts.

A few anomalies in the footage do little harm, because no step relies on the highest scores:

- Members are standardised by the median and the median absolute deviation of their scores, if
  this is larger than their deviation in training.
- Stretches of high scores are compared with each other. Above the 90 % quantile, the heights of
  their peaks are taken to fall off exponentially. The median height gives the scale, which a few
  high peaks hardly change. A stretch is left out of alarms, banks and reference if its peak is so
  high that footage of this length has such a peak in fewer than one of a hundred cases. At most
  2 % of the footage is left out, the highest stretches first, and all of them are logged.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.labels import Label
from vad.scratch import new_scratch, sweep
from vad.store import FeatureStore

from .calibration import STEEPEST
from .candidates import Candidate, default_candidates, find_candidates
from .card import CARD, Calibration, CameraRecord, Card, Member, Selection, Stretch, now, read_card
from .detectors import create_detector
from .ensemble import NORMALITY_WEIGHT
from .familiarity import Familiarity, array_for, describe, learn_from
from .heldout import HeldOut, normal_footage, stretches_of
from .rates import FrameRates
from .run import Run, TrainedMember, logit
from .settings import TrainSettings
from .streams import Inputs, Scaling, read_arrays

log = logging.getLogger("vad")

FOLDER = "cameras"
N_PARTS = 5  # of the footage
LEAST_SNIPPETS = 20  # of the footage
LEAST_SPREAD = 0.05  # least spread of the log distances of `normality`
HIGH = 0.9  # quantile of the scores: stretches above it are compared with each other
DOUBT = 0.1  # a stretch whose peak has a smaller chance in ordinary footage is left out
MOST_LEFT_OUT = 0.02  # of the footage
STILL = 0.01  # least change of features from snippet to snippet, as a share of their size
BLOCK = 1024  # snippets that are compared at once
MOST_STILL = 0.1  # of the footage; more means that the camera was dark or frozen
HALF = 0.99  # quantile of the scores that becomes the score 0.5
USUAL_PER_S = 1 / 3600  # false alarms that the threshold allows by default
PIECE_SNIPPETS = 8  # least snippets of a piece of footage that the reference describes
N_PIECES = 100  # most pieces

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def camera_folder(run: Path, name: str) -> Path:
    """Return the folder of a camera of a run.

    Raises UsageError if no folder can have the name, or if it looks like an option.
    """
    if not name or name[0] in ".-" or not all(c.isalnum() or c in "-_." for c in name):
        raise UsageError(
            f"no folder can be called like the camera {name!r}",
            hint="use letters, digits, - and _, and begin with a letter or digit",
        )
    return run / FOLDER / name


def cameras_of(run: Path) -> list[str]:
    """Return the names of the cameras that a run is calibrated for, sorted."""
    names = (card.parent.name for card in (run / FOLDER).glob(f"*/{CARD}"))
    return sorted(name for name in names if not name.startswith("."))


def find_camera(run: Path, name: str) -> Path:
    """Return the folder of a calibrated camera of a run.

    Raises UsageError if the run has no such camera, with the names of those that it has, or if the
    run was trained again since the calibration.
    """
    trained, folder = read_card(run), camera_folder(run, name)
    again = f"vad calibrate {run} FOOTAGE --camera {name}"
    if not (folder / CARD).is_file():
        known = ", ".join(cameras_of(run))
        raise UsageError(
            f"{run} has no camera {name!r}, " + (f"there are: {known}" if known else "nor another"),
            hint=f"{again} makes it",
        )
    camera = read_card(folder).camera
    if camera is None or camera.run_created != trained.created:
        raise UsageError(
            f"the camera {name} was calibrated before {run} was trained again", hint=again
        )
    return folder


def calibrate_camera(
    run: Run,
    store: FeatureStore,
    videos: Sequence[str],
    name: str,
    *,
    false_alarms_per_s: float | None = None,
) -> Run:
    """Calibrate a run for the camera that took these stored videos; write and open the result.

    run: on the CPU. false_alarms_per_s: how often per second ordinary footage may reach the
    threshold; by default once an hour, or as rarely as the footage can tell. A camera of the same
    name is replaced. Raises UsageError if the footage is too short, or if its features are not
    those of the run.
    """
    folder = camera_folder(run.path, name)
    if run.card.camera:
        raise UsageError(f"{run.path} is a camera", hint="calibrate the run that it belongs to")
    footage = _Footage.of(store, videos)
    members = [m for m in run.members if m.card.detector != "normality"]
    banks = [_Bank.draw(c, footage) for c in _candidates(run, store, videos[0])]
    logits = [np.concatenate([_logits(m, store, v) for v in videos]) for m in members]
    logits += [bank.logits(footage) for bank in banks]
    floors = [m.card.spread for m in members] + [LEAST_SPREAD] * len(banks)
    weights = [m.card.weight for m in members] + [NORMALITY_WEIGHT] * len(banks)
    moments = [_moments(z, floor) for z, floor in zip(logits, floors, strict=True)]
    each = [(z - centre) / spread for z, (centre, spread) in zip(logits, moments, strict=True)]
    z = np.average(each, axis=0, weights=weights)
    tail = _Tail.of(z, footage)
    kept = ~tail.left_out
    normal = normal_footage(footage.by_video(np.where(kept, z, np.median(z))), footage.seconds)
    usual = max(USUAL_PER_S, 1 / normal.seconds)
    level = normal.level_of(false_alarms_per_s or usual, more="calibrate with more footage")
    calibration = Calibration(tail.slope, -tail.slope * float(np.quantile(z[kept], HALF)))
    placed = [
        replace(m, card=replace(m.card, weight=weight, centre=centre, spread=spread))
        for m, weight, (centre, spread) in zip(
            [*members, *(bank.member(kept) for bank in banks)], weights, moments, strict=True
        )
    ]
    reference, left_out = footage.reference(run.card, kept), footage.stretches(~kept)
    card = replace(
        run.card,
        members=tuple(member.card for member in placed),
        selection=Selection(on=f"ordinary footage of the camera {name}"),
        threshold=float(calibration.chances(np.array(level))),
        videos={"train": tuple(Label(video, 0) for video in videos)},
        calibration=calibration,
        held_out=HeldOut(normal),
        familiarity=reference.array if reference else None,
        training_fps=FrameRates.of(map(store.record, videos)),
        camera=CameraRecord(name, run.card.created, footage.total_s, left_out),
        created=now(),
    )
    _write(Run(folder, card, placed, reference, run.naming))
    if (still := footage.still_share(run.card)) > MOST_STILL:
        log.warning(
            "in %.0f %% of the footage nothing changes, as if the camera were dark or frozen: look "
            "at it, and calibrate with footage of ordinary days",
            100 * still,
        )
    for part in left_out:
        log.warning(
            "left out, as unlike the rest of the footage: %s, %.1f to %.1f s",
            *(part.video, part.start_s, part.end_s),
        )
    return Run.open(folder)


def _write(camera: Run) -> None:
    """Write the folder of a camera, which appears when it is whole."""
    scratch = camera.path.parent / ".scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    sweep(scratch)
    made, replaced = new_scratch(scratch), new_scratch(scratch)
    Run(made, camera.card, camera.members, camera.familiarity, camera.naming).save()
    if camera.path.exists():
        camera.path.rename(replaced)
    made.rename(camera.path)
    shutil.rmtree(replaced, ignore_errors=True)


@dataclass(frozen=True)
class _Footage:
    """Videos of one camera, whose snippets are numbered through."""

    store: FeatureStore
    spans: Mapping[str, slice]  # the snippets of every video
    seconds: Mapping[str, float]  # the length of every video

    @classmethod
    def of(cls, store: FeatureStore, videos: Sequence[str]) -> _Footage:
        """Return the footage in stored videos. Raises UsageError if it has too few snippets."""
        spans, seconds, n = {}, {}, 0
        for video in videos:
            record = store.record(video)
            seconds[video] = record.duration_s
            spans[video] = slice(n, n := n + record.grid.n_snippets(record.n_frames))
        if n < LEAST_SNIPPETS:
            raise UsageError(
                f"footage of {n} snippets tells nothing of a camera, it takes {LEAST_SNIPPETS}",
                hint="half an hour of footage tells much more",
            )
        return cls(store, spans, seconds)

    @property
    def n_snippets(self) -> int:
        return int(max(span.stop for span in self.spans.values()))

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())

    @property
    def parts(self) -> NDArray[np.int64]:
        """Return the part of the footage that each snippet is in, [snippets]."""
        return np.arange(self.n_snippets) * N_PARTS // self.n_snippets

    def by_video(self, values: Floats) -> dict[str, Floats]:
        """Return the values [snippets] of every video, of those of all."""
        return {video: values[span] for video, span in self.spans.items()}

    def stretches(self, chosen: Flags) -> tuple[Stretch, ...]:
        """Return the stretches of time that chosen snippets [snippets] form."""
        found = []
        for video, span in self.spans.items():
            snippet_s = self.snippet_s(video)
            for first, stop in stretches_of(chosen[span], snippet_s):
                found.append(Stretch(video, first * snippet_s, stop * snippet_s))
        return tuple(found)

    def snippet_s(self, video: str) -> float:
        """Return the mean length of a snippet of a video, in seconds."""
        span = self.spans[video]
        return self.seconds[video] / int(span.stop - span.start)

    def still_share(self, card: Card) -> float:
        """Return the share of snippets whose features hardly differ from those before."""
        array = next((s.name for s in (*card.of_kind("visual"), *card.of_kind("places"))), None)
        if array is None:
            return 0.0
        n_still = 0
        for video in self.spans:
            rows = self.store.read(video, array)
            for start in range(0, len(rows) - 1, BLOCK):
                block = rows[start : start + BLOCK + 1].astype(np.float32)
                changes = np.abs(np.diff(block, axis=0)).mean((1, 2))
                n_still += int((changes <= STILL * np.abs(block).mean()).sum())
        return n_still / self.n_snippets

    def reference(self, card: Card, kept: Flags) -> Familiarity | None:
        """Learn what pieces of the footage look like; None if they are too few."""
        array = array_for(card, self.store.names(next(iter(self.spans))))
        if array is None:
            return None
        of_a_file = int(np.median([span.stop - span.start for span in self.spans.values()]))
        length = max(PIECE_SNIPPETS, min(self.n_snippets // N_PIECES, of_a_file // 2))
        found = {}
        for video, span in self.spans.items():
            rows = self.store.read(video, array)[kept[span]]
            for start in range(0, len(rows) - length + 1, length):
                found[f"{video} {start}"] = describe(rows[start : start + length])
        names = list(found)
        learned = learn_from(array, found, [names[k::N_PARTS] for k in range(N_PARTS)])
        if learned is None:
            log.warning(
                "%d pieces of %d snippets are too few to know what the camera shows: that it shows "
                "something else will not be told; give more footage, in longer files",
                *(len(found), length),
            )
        return learned


@dataclass(frozen=True)
class _Tail:
    """The high scores of the footage, and the stretches that are too high for it."""

    scale: float  # of the exponential distribution of the heights of peaks
    left_out: Flags  # [snippets]

    @classmethod
    def of(cls, z: Floats, footage: _Footage) -> _Tail:
        """Look at scores [snippets], as the head of this file explains."""
        level = float(np.quantile(z, HIGH))
        stretches = []
        for video, span in footage.spans.items():
            found = stretches_of(z[span] >= level, footage.snippet_s(video))
            stretches += [slice(span.start + first, span.start + stop) for first, stop in found]
        heights = np.array([z[stretch].max() - level for stretch in stretches])
        left_out = np.zeros(len(z), bool)
        for index in np.argsort(-heights):  # the scale is that of the stretches not yet left out
            scale = max(float(np.median(heights[heights <= heights[index]])) / math.log(2), 1e-6)
            limit = scale * math.log(len(heights) / DOUBT)
            n = left_out.sum() + stretches[index].stop - stretches[index].start
            if heights[index] <= limit or n > MOST_LEFT_OUT * len(z):
                break
            left_out[stretches[index]] = True
        return cls(scale, left_out)

    @property
    def slope(self) -> float:
        """Return the slope of the calibration: the odds of a score double where ordinary footage
        reaches it half as often.
        """
        return min(1 / self.scale, STEEPEST)


def _moments(logits: Floats, floor: float) -> tuple[float, float]:
    """Return the median, and the median absolute deviation as that of a normal distribution."""
    centre = float(np.median(logits))
    return centre, max(1.4826 * float(np.median(np.abs(logits - centre))), floor)


def _logits(member: TrainedMember, store: FeatureStore, video: str) -> Floats:
    return logit(member.score(read_arrays(store, member.card.streams, video)))


# --- banks of normality


def _candidates(run: Run, store: FeatureStore, video: str) -> list[Candidate]:
    """Return what `normality` reads of the camera: what that of the run reads, or else the cells
    beside the run's visual features, or these features. Empty if the run reads captions alone.
    """
    own = [m.card for m in run.members if m.card.detector == "normality"]
    if own:
        return [Candidate("", m.detector, m.streams[0], m.settings) for m in own]
    names = {stream.name.partition("/")[2] for stream in run.card.of_kind("visual")}
    cells = [c for c in default_candidates(store, video) if c.detector == "normality"]
    cells = [c for c in cells if c.stream.name.partition("/")[2] in names]
    reads = [f"normality:visual/{name}" for name in sorted(names)]
    return cells or find_candidates(store, video, reads)


@dataclass(frozen=True)
class _Bank:
    """Rows of the footage, of which the banks of a `normality` are made."""

    candidate: Candidate
    scaling: Scaling
    rows: NDArray[np.float32]  # [rows, dim]
    cells: NDArray[np.int64]  # [rows], the cell of each
    snippets: NDArray[np.int64]  # [rows], the snippet of each

    @classmethod
    def draw(cls, candidate: Candidate, footage: _Footage) -> _Bank:
        """Draw rows evenly from the footage, in random order: as many as the parts but one of them
        have `rows` of the candidate's settings.
        """
        wanted = int(str(candidate.own["rows"])) * N_PARTS / (N_PARTS - 1)
        drawn = []
        for index, (video, span) in enumerate(footage.spans.items()):
            features = candidate.stream.of(_rows(candidate, footage.store, video))
            n, n_cells, dim = features.shape
            n_rows = math.ceil(wanted * n / footage.n_snippets)
            order = np.random.default_rng(index).permutation(n * n_cells)[:n_rows]
            rows = features.reshape(-1, dim)[order].astype(np.float32)
            drawn.append((rows, order % n_cells, span.start + order // n_cells))
        rows, cells, snippets = (np.concatenate(part) for part in zip(*drawn, strict=True))
        order = np.random.default_rng(0).permutation(len(rows))
        scaling = Scaling.standardise(rows)
        return cls(candidate, scaling, rows[order], cells[order], snippets[order])

    def member(self, chosen: Flags) -> TrainedMember:
        """Return a `normality` whose bank is rows of chosen snippets [snippets].

        All banks have about the same size, because distances to a larger bank are smaller.
        Distances to all rows weigh the same: the footage may hold anomalies, whose rows lie far
        from others.
        """
        stream, settings = self.candidate.stream, dict(self.candidate.own)
        n_rows = len(self.rows) * (N_PARTS - 1) // N_PARTS
        some = np.flatnonzero(chosen[self.snippets])[:n_rows]
        detector = create_detector(
            "normality",
            visual_dim=stream.width,
            settings=settings,
            arrays={
                "bank": self.scaling(torch.from_numpy(self.rows[some])).numpy(),
                "cells": self.cells[some, None].astype(np.float32),
            },
        )
        card = Member(
            "normality", settings, stream.width, None, (stream,), smoothing=TrainSettings.smoothing
        )
        return TrainedMember(card, detector.eval(), Inputs({stream.input: self.scaling}))

    def logits(self, footage: _Footage) -> Floats:
        """Return the logits of the scores of all snippets, by banks of the other parts."""
        parts = footage.parts
        members = [self.member(parts != part) for part in range(N_PARTS)]
        found = np.zeros(footage.n_snippets)
        for video, span in footage.spans.items():
            rows = _rows(self.candidate, footage.store, video)
            for part in np.unique(parts[span]):
                own = {self.candidate.stream.name: rows[parts[span] == part]}
                found[span][parts[span] == part] = logit(members[part].score(own))
        return found


def _rows(candidate: Candidate, store: FeatureStore, video: str) -> NDArray[np.generic]:
    """Return the array of a video that a candidate reads, with all its columns:
    [snippets, crops, dim].
    """
    stream = candidate.stream
    return read_arrays(store, [stream], video)[stream.name]
