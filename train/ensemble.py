"""`vad train` without a named detector: a run of several members, decided by cross-fitting.

    folds ─> fit every member without a fold ─> score the fold ─> weights, calibration, threshold
    all training videos ─> fit every member ─> run

Of more than `MOST_CROSS_FITTED` videos, one fold is held out once, and the members of the run are
those that were trained on the rest. Every decision is made from scores of videos that the scoring
model has not seen, and only from labels of videos. The members' scores are standardised and added
(`card.Calibration`).
"""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vad.config import build, options
from vad.device import choose_device
from vad.errors import UsageError
from vad.labels import Label, Labels, match, name_of, read_labels
from vad.names import shortened
from vad.store import FeatureStore
from vad.terminal import Meter, meter
from vad.version import VERSION

from . import costs
from .bags import Bag, Bags, load_bags
from .calibration import Scores, calibrate
from .callbacks import Callback, Told, Training, telling
from .candidates import Candidate, default_candidates, find_candidates
from .card import CARD, Card, Member, Selection, now
from .data import refuse_random, scaling_of
from .detectors import DETECTORS, create_detector
from .detectors.normality import Normality, sample_rows
from .familiarity import array_for, learn
from .fit import Fit, fit_epoch
from .folds import make_folds
from .heldout import held_out
from .naming import learn_names
from .rates import FrameRates
from .reviewed import count_verdicts, relabelled, reviewed_bags, reviews_for
from .run import BOARD, PLAN, STATE, Run, TrainedMember, logit, store_hint, tell_others
from .settings import TrainSettings
from .split import Split, split_videos
from .streams import Inputs, Scaling, choose_streams, read_arrays
from .unfinished import Unfinished

log = logging.getLogger("vad")

NORMALITY_WEIGHT = 2.0  # of a normality whose bank covers held-out normal videos
# settings that have no meaning where folds decide
OF_ONE = {"validation", "select", "form", "scale", "crops"}
MOST_CROSS_FITTED = 200  # training videos; of larger sets one fold is held out, once
UNCOVERED = 0.1  # excess of distances, see `excess`, at which its weight has fallen to 0


@dataclass(frozen=True)
class Task:
    """What all members are trained on."""

    store: FeatureStore
    split: Split
    bags: Sequence[Bag]  # the training videos, and the reviewed events
    verdicts: Mapping[str, int]  # number of reviewed events by verdict
    settings: TrainSettings
    given: Mapping[str, object]  # the settings that the user gave; these override a member's own
    device: torch.device
    told: Told = field(default_factory=Told)  # who is told of every epoch

    @property
    def labels(self) -> list[Label]:
        return self.split.train

    @property
    def is_large(self) -> bool:
        """Return True if one fold is held out once, and members are not trained on it."""
        return len(self.labels) > MOST_CROSS_FITTED


def train_ensemble(
    store_path: str | Path,
    labels: Labels,
    out: Path,
    given: Mapping[str, object],
    members: Sequence[str] = (),
    *,
    for_streams: bool,
    reviews: str | Path | None,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train members, write a run folder to `out`, and open the run.

    given: settings of `TrainSettings`. members: names as `candidates` explains them; by default,
    those that suit the store's arrays. for_streams: take only members with which a core carries
    several cameras, see `costs`. reviews: a file of verdicts, see `reviewed`. resume: go on
    with the folds that an interrupted training of the same kind has finished. Raises UsageError if
    the input is wrong.
    """
    if (out / CARD).exists() and not overwrite:
        raise UsageError(f"{out} holds a finished run", hint="choose another --out, or --overwrite")
    _refuse_settings_of_one(given)
    tell_others(out)
    task = make_task(store_path, labels, given, reviews)
    candidates = _candidates(task, members)
    if for_streams:
        candidates = costs.admit(candidates, are_named=bool(members))
    costs.tell(candidates)
    every_fold = make_folds(task.labels, task.settings.seed)
    folds = every_fold[:1] if task.is_large else every_fold
    weights = weights_of(task, candidates, folds, are_named=bool(members))
    kept = [(c, weight) for c, weight in zip(candidates, weights, strict=True) if weight > 0]
    unfinished = Unfinished.begin(out, _what_decides(task, kept, folds), resume=resume)
    if not resume:
        shutil.rmtree(out / BOARD, ignore_errors=True)
    begun = Training(out, {**asdict(task.settings), "members": [c.name for c, _ in kept]})
    with telling(callbacks, begun) as told:
        task = replace(task, told=told)
        run = _fit_and_decide(task, labels, out, kept, every_fold, unfinished, quiet=quiet)
        run.save()
        told.run = run
    unfinished.remove()
    for left in (STATE, PLAN, "history.csv"):  # of a training of one detector that is replaced
        (out / left).unlink(missing_ok=True)
    return run


def _fit_and_decide(
    task: Task,
    labels: Labels,
    out: Path,
    kept: Sequence[tuple[Candidate, float]],
    every_fold: Sequence[Sequence[Label]],
    unfinished: Unfinished,
    *,
    quiet: bool,
) -> Run:
    """Train the members `kept`, each with its weight, decide all else by folds, and return the run.

    It is not saved yet. Of a large set, one fold is kept back for the decisions, and members are
    not trained on it.
    """
    folds = every_fold[:1] if task.is_large else every_fold
    apart = frozenset(label.video for label in folds[0]) if task.is_large and folds else frozenset()
    judged = folds[0] if apart else task.labels
    chosen: list[TrainedMember] = []
    logits: list[Scores] = []
    n_fits = len(kept) * (1 if apart else len(folds) + 1)
    with meter("train", n_fits, unit="fits", quiet=quiet) as progress:
        for candidate, weight in kept:
            held = {} if apart else cross_fit(task, candidate, folds, unfinished, progress)
            member = fit_member(task, candidate, apart)
            # where no video could be held out, those that the member was trained on stand in
            logits.append(held or logits_of(task, member, judged))
            chosen.append(_placed(member, logits[-1], weight))
            progress.advance()
    combined = _combined(chosen, logits)
    decided = calibrate(combined, judged)
    seconds = {x.video: task.store.record(x.video).duration_s for x in judged}
    split = task.split
    if apart:
        split = replace(
            split, train=[x for x in split.train if x.video not in apart], validation=list(judged)
        )
    card = Card(
        tuple(member.card for member in chosen),
        Selection(
            on=_decided_on(folds, is_share=bool(apart)),
            figures=decided.figures,
            videos=split.n_of(judged),
            doubt=decided.doubt,
            expected=decided.expected,
        ),
        threshold=decided.threshold,
        training=task.settings,
        videos=split.parts,
        store=store_hint(out, str(task.store.backend)),
        calibration=decided.calibration,
        held_out=held_out(combined, judged, seconds) if folds else None,
        training_fps=FrameRates.of(
            task.store.map(task.store.record, [x.video for x in task.labels])
        ),
        labels=str(labels) if isinstance(labels, str | Path) else None,
        reviews=task.verdicts,
        n_parameters=sum(p.numel() for m in chosen for p in m.detector.parameters()),
        created=now(),
    )
    stored = set.intersection(*(set(task.store.names(label.video)) for label in task.labels))
    array = array_for(card, stored)
    known = learn(task.store, array, task.labels, every_fold) if array else None
    naming = None
    if array and folds and not any(member.detector.classes for member in chosen):
        chances = {video: decided.calibration.chances(z) for video, z in combined.items()}
        naming = learn_names(task.store, array, judged, chances, folds)
    card = replace(
        card,
        familiarity=known.array if known else None,
        kinds=naming.names if naming else (),
    )
    return Run(out, card, chosen, known, naming)


def _refuse_settings_of_one(given: Mapping[str, object]) -> None:
    """Raise UsageError if a setting is given that only a training of one detector has."""
    own = {name for row in DETECTORS.values() for name in options(row.settings)}
    usual = {**given, **asdict(TrainSettings())}  # of names that nothing has `build` tells
    changed = {name for name, value in given.items() if name in own or value != usual[name]}
    if of_one := sorted(changed & (OF_ONE | own)):
        raise UsageError(
            f"{of_one[0]} is a setting of a training of one detector",
            hint="name it: --detector rtfm; without a name, cross-fitting decides",
        )


def _candidates(task: Task, members: Sequence[str]) -> list[Candidate]:
    """Return the named members, or those that suit the store, that can be trained.

    Raises UsageError if there are none.
    """
    settings, videos = task.settings, [label.video for label in task.labels]
    n_arrays = list(task.store.map(lambda video: len(task.store.names(video)), videos))
    richest = videos[n_arrays.index(max(n_arrays))]  # an extraction may have left out some videos
    if members:
        candidates = find_candidates(task.store, richest, members)
    else:
        candidates = default_candidates(task.store, richest)
        if settings.visual or settings.text:
            named = {"visual": settings.visual, "text": settings.text}
            arrays = choose_streams(task.store, named).values()
            candidates = [c for c in candidates if c.stream.name in arrays]
    if not any(label.label for label in task.labels):
        candidates = [c for c in candidates if c.detector == "normality"]
    if not candidates and members:
        raise UsageError(
            "no training video is abnormal, and no named member is a normality",
            hint="label some abnormal videos, or add --member normality:places",
        )
    if not candidates:
        raise UsageError(
            f"no training video is abnormal, and {task.store.backend} has no places/... array, "
            "which a detector of normal footage reads",
            hint="label some abnormal videos, or extract with --backbone efficientnet-lite0-parts",
        )
    return _stored_for_all(task, candidates, are_named=bool(members))


def _stored_for_all(
    task: Task, candidates: Sequence[Candidate], *, are_named: bool
) -> list[Candidate]:
    """Return the candidates whose array every training video has, and tell which array is left out.

    Raises UsageError if that is an array of a named member, or if no candidate remains.
    """
    videos = {label.video for label in task.labels}
    whole = set[str]()
    for name in dict.fromkeys(candidate.stream.name for candidate in candidates):
        lacking = sorted(videos - set(task.store.having(name)))
        if not lacking:
            whole.add(name)
            continue
        told = f"{len(lacking)} of {len(videos)} training videos lack {name}: {shortened(lacking)}"
        if are_named:
            raise UsageError(told, hint="make it for them, or take them out of the labels")
        log.warning("%s; no member reads it", told)
    if not whole:
        raise UsageError(
            f"{task.store.backend} has no array of all {len(videos)} training videos",
            hint="make one for those that lack it, or take them out of the labels",
        )
    return [candidate for candidate in candidates if candidate.stream.name in whole]


def _decided_on(folds: Sequence[Sequence[Label]], *, is_share: bool) -> str:
    """Say which videos the decisions were made on."""
    if is_share:
        return f"{len(folds[0])} held-out videos"
    return f"held-out videos of {len(folds)} folds" if folds else "nothing: too few sources"


def _what_decides(
    task: Task,
    kept: Sequence[tuple[Candidate, float]],
    folds: Sequence[Sequence[Label]],
) -> str:
    """Return a checksum of all that the scores of held-out videos depend on."""
    parts: list[object] = [VERSION, task.settings, sorted(map(str, task.given.items()))]
    parts += [kept, folds, task.bags]
    arrays = {candidate.stream.name for candidate, _ in kept}
    for video in sorted({bag.video for bag in task.bags}):
        parts += [(video, name, task.store.info(video, name).sha256) for name in sorted(arrays)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def make_task(
    store_path: str | Path,
    labels: Labels,
    given: Mapping[str, object],
    reviews: str | Path | None = None,
) -> Task:
    """Return what members are trained on: the stored training videos, as the reviews correct them.

    Raises UsageError if the input is wrong.
    """
    settings = build(TrainSettings, given, where="train")
    store = FeatureStore.open(store_path)
    stored = store.ids()
    split = split_videos(
        match(read_labels(labels), stored, where=name_of(labels), missing="keep"),
        validation=0,
        seed=settings.seed,
        fold=settings.fold,
        stored=set(stored),
        one_class=True,
        where=name_of(labels),
    )
    # videos that a labels file sets apart for validation are trained on: folds choose here
    split = replace(split, train=split.train + split.validation, validation=[])
    if not settings.allow_random:
        refuse_random(store, store.names(split.train[0].video))
    reviewed = reviews_for(reviews, store, split)
    split = replace(split, train=relabelled(store, split.train, reviewed))
    return Task(
        store,
        split,
        reviewed_bags(store, split.train, reviewed),
        count_verdicts(reviewed),
        settings,
        given,
        choose_device(settings.device),
    )


# --- members


def cross_fit(
    task: Task,
    candidate: Candidate,
    folds: Sequence[Sequence[Label]],
    unfinished: Unfinished,
    progress: Meter,
) -> Scores:
    """Return the logits of the scores of every training video, by a member that has not seen it."""
    found: Scores = {}
    for index, fold in enumerate(folds):
        part = f"{candidate.name}-{index}"
        scores = unfinished.read(part)
        if scores is None:
            held = {label.video for label in fold}
            member = fit_member(task, candidate, held, f"{candidate.name}/fold-{index}")
            scores = logits_of(task, member, fold)
            unfinished.keep(part, scores)
        found |= scores
        progress.advance()
    return found


def fit_member(
    task: Task, candidate: Candidate, held: Collection[str] = frozenset(), part: str = ""
) -> TrainedMember:
    """Train one member on all bags but those of the videos `held`.

    part: how callbacks are told of this fit; by default the member's name.
    """
    if candidate.detector == "normality":
        return _of_normality(task, candidate, held)
    return _of_bags(task, candidate, held, part or candidate.name)


def logits_of(task: Task, member: TrainedMember, labels: Sequence[Label]) -> Scores:
    """Return the logits of a member's scores [snippets] of labelled videos, by video."""
    streams = member.card.streams
    return {
        label.video: logit(member.score(read_arrays(task.store, streams, label.video)))
        for label in labels
    }


def _of_bags(task: Task, candidate: Candidate, held: Collection[str], part: str) -> TrainedMember:
    """Train a detector on bags of segments, to the last epoch."""
    of_small_sets = {} if task.is_large else candidate.training
    settings = build(TrainSettings, of_small_sets, task.given, where="train")
    stream = candidate.stream
    bags = _bags(task, candidate, held)
    n_videos = len({label.video for label in task.labels} - set(held))
    components = candidate.components_a_video * n_videos
    inputs = Inputs({stream.input: scaling_of(bags.rows(stream.input), components, settings)})
    dim, _ = inputs.dims(bags.widths)
    torch.manual_seed(settings.seed)
    detector = create_detector(candidate.detector, visual_dim=dim, settings=candidate.own)
    state = Fit.begin(detector.to(task.device), settings)
    inputs = inputs.to(task.device)
    while state.epoch < settings.epochs:
        task.told.epoch(part, fit_epoch(state, bags, None, inputs, settings))
    detector.finish()
    return TrainedMember(_card(task, candidate, dim), detector.eval(), inputs)


def _bags(task: Task, candidate: Candidate, held: Collection[str]) -> Bags:
    stream = candidate.stream
    every = load_bags(
        task.store,
        {stream.input: stream.name},
        task.bags,
        task.settings.segments,
        stretch=False,
        quiet=True,
    )
    index = np.array([i for i, bag in enumerate(task.bags) if bag.video not in held])
    return every.of(index, {stream.input: stream.of})


def _of_normality(task: Task, candidate: Candidate, held: Collection[str]) -> TrainedMember:
    """Fill the bank with rows of the normal bags, and weigh the distances to them."""
    rows, cells, sources = _rows_of_normal(task, candidate, held)
    return _with_bank(task, candidate, rows, cells, Scaling.standardise(rows), sources)


def _rows_of_normal(
    task: Task, candidate: Candidate, held: Collection[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Draw rows of the normal bags; return them [rows, dim], the cell of each [rows, 1], and the
    bag of each [rows].
    """
    normal = [bag for bag in task.bags if bag.label == 0 and bag.video not in held]
    if not normal:
        raise UsageError("normality needs normal training videos", hint="label some 0")
    stream, n_rows = candidate.stream, int(str(candidate.own["rows"]))
    each = -(-n_rows // len(normal))
    drawn = [
        sample_rows(
            stream.of(bag.of(read_arrays(task.store, [stream], bag.video)[stream.name])), each, i
        )
        for i, bag in enumerate(normal)
    ]
    rows, cells = (np.concatenate(part) for part in zip(*drawn, strict=True))
    return rows, cells, np.repeat(np.arange(len(drawn)), [len(part) for part, _ in drawn])


def _with_bank(
    task: Task,
    candidate: Candidate,
    rows: NDArray[np.float32],
    cells: NDArray[np.float32],
    scaling: Scaling,
    sources: NDArray[np.int64] | None = None,
) -> TrainedMember:
    """Return a normality with these rows [rows, dim] of normal footage, of the cells [rows, 1].

    sources: the bag of each row, [rows]; without it, distances to all rows weigh the same.
    """
    scaled = scaling(torch.from_numpy(rows))
    detector = Normality.of_rows(scaled, cells, sources, candidate.stream.crops or 1, candidate.own)
    inputs = Inputs({candidate.stream.input: scaling}).to(task.device)
    card = _card(task, candidate, candidate.stream.width)
    return TrainedMember(card, detector.eval().to(task.device), inputs)


def _card(task: Task, candidate: Candidate, dim: int) -> Member:
    return Member(
        candidate.detector,
        dict(candidate.own),
        dim,
        None,
        (candidate.stream,),
        smoothing=task.settings.smoothing,
        smoothing_rule=task.settings.smoothing_rule,
    )


# --- decisions


def weights_of(
    task: Task,
    candidates: Sequence[Candidate],
    folds: Sequence[Sequence[Label]],
    *,
    are_named: bool,
) -> list[float]:
    """Return the weight of every candidate; 0 leaves it out.

    Trained detectors weigh the same. Labels of a few dozen videos cannot rank them: such labels
    also reward what tells one video from another and not one moment from another. `normality` is
    weighed by how well its bank covers held-out normal videos: it helps where the camera stands
    still, and harms where every video is another scene. It has its full weight if the user named
    the members (`are_named`), or if no video is abnormal and it is all there is.
    """
    is_certain = are_named or not any(label.label for label in task.labels)

    def weight_of(candidate: Candidate) -> float:
        if candidate.detector != "normality":
            return 1.0
        far = 0.0 if is_certain else excess(task, candidate, folds)
        return NORMALITY_WEIGHT * float(np.clip(1 - far / UNCOVERED, 0, 1))

    return [weight_of(candidate) for candidate in candidates]


def excess(task: Task, candidate: Candidate, folds: Sequence[Sequence[Label]]) -> float:
    """Return how much farther held-out normal videos lie from other normal videos than from
    themselves.

    For the second half of each normal video: the mean log distance to a bank of the other folds'
    normal videos, less that to a bank of the video's own first half. Infinite without folds.
    """
    found = []
    for fold in folds:
        held = {label.video for label in fold}
        normal = [label for label in fold if label.label == 0]
        if not (normal and any(x.label == 0 and x.video not in held for x in task.bags)):
            continue
        drawn, cells, _ = _rows_of_normal(task, candidate, held)
        bank = _with_bank(task, candidate, drawn, cells, Scaling.standardise(drawn))
        for label in normal:
            features = read_arrays(task.store, bank.card.streams, label.video)
            rows = candidate.stream.of(features[candidate.stream.name])
            half = len(rows) // 2
            if half == 0:
                continue
            first_half = sample_rows(rows[:half], int(str(candidate.own["rows"])), seed=0)
            own = _with_bank(
                task, candidate, *first_half, bank.inputs.scalings[candidate.stream.input]
            )
            far, near = (_log_distance(member, rows[half:]) for member in (bank, own))
            found.append(far - near)
    return float(np.mean(found)) if found else math.inf


def _log_distance(member: TrainedMember, rows: NDArray[np.generic]) -> float:
    stream = member.card.streams[0]
    visual, _ = member.inputs.of_arrays({stream.input: rows})
    with torch.inference_mode():
        distances = member.detector(visual).magnitudes
    return float(distances.clamp_min(1e-6).log().mean())


def _placed(member: TrainedMember, logits: Scores, weight: float) -> TrainedMember:
    """Return the member with its weight, and with the mean and deviation of these logits."""
    every = np.concatenate(list(logits.values()))
    spread = max(float(every.std()), 1e-6)
    card = replace(member.card, weight=weight, centre=float(every.mean()), spread=spread)
    return replace(member, card=card)


def _combined(members: Sequence[TrainedMember], logits: Sequence[Scores]) -> Scores:
    """Return the weighted mean of the members' standardised scores, by video."""
    weights = [member.card.weight for member in members]

    def of(video: str) -> NDArray[np.float64]:
        each = [
            (one[video] - member.card.centre) / member.card.spread
            for member, one in zip(members, logits, strict=True)
        ]
        return np.asarray(np.average(each, axis=0, weights=weights), np.float64)

    return {video: of(video) for video in logits[0]}
