"""`vad train`: make a run folder from a feature store and labels."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from vad.device import choose_device
from vad.errors import UsageError
from vad.labels import Labels
from vad.terminal import meter

from .callbacks import Callback, Training, loggers, telling
from .card import CARD, Card, Member, Selection, differing_fields, now, read_card_file
from .data import TrainingData, load_training_data
from .fit import Fit, fit
from .history import History
from .metrics import best_threshold
from .presets import split_settings
from .rates import FrameRates
from .run import BOARD, PLAN, STATE, Run, TrainedMember, store_hint, tell_others
from .settings import TrainSettings
from .streams import read_each

log = logging.getLogger("vad")

ANEW = "train anew without --resume"


def train(
    store: str | Path,
    labels: Labels,
    out: str | Path = "runs/default",
    *,
    member: Sequence[str] = (),
    purpose: Literal["streams"] | None = None,
    reviews: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    log_to: Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    **settings: Any,
) -> Run:
    """Train a run from video-level labels, write its folder to `out`, and open it.

    `settings` are those of `TrainSettings` and of the detector. If they name no detector, the run
    has several members, see `ensemble`; member: names of these. purpose: "streams" takes only
    members with which a core carries several cameras, see `costs`. reviews: a file of a person's
    verdicts on events, see `reviewed`. log_to: names of loggers, which are told every epoch as
    `callbacks` are. Raises UsageError if the input is wrong.
    """
    callbacks = [*loggers(log_to), *callbacks]
    if settings.get("detector") == "normality":
        settings = {n: v for n, v in settings.items() if n != "detector"}
        reads = settings.pop("visual", None) or settings.pop("text", None) or "places"
        member = (f"normality:{reads}", *member)
    if member and not _names_none(settings):
        raise UsageError(
            "--member names members of a run, --detector, --preset and --weights one detector",
            hint="leave one or the other out",
        )
    if member or _names_none(settings):
        from .ensemble import train_ensemble

        return train_ensemble(
            store,
            labels,
            Path(out),
            settings,
            member,
            for_streams=purpose == "streams",
            reviews=reviews,
            resume=resume,
            overwrite=overwrite,
            quiet=quiet,
            callbacks=callbacks,
        )
    if purpose is not None:
        raise UsageError(
            f"--for {purpose} chooses among members of a run",
            hint="leave --detector, --preset and --weights out; --member names members",
        )
    chosen, own = split_settings(settings)
    return train_run(
        store,
        labels,
        Path(out),
        chosen,
        own,
        reviews=reviews,
        resume=resume,
        overwrite=overwrite,
        quiet=quiet,
        callbacks=callbacks,
    )


def _names_none(settings: Mapping[str, Any]) -> bool:
    """Return True if neither a detector nor a preset nor weights are named."""
    named = settings.get("detector") not in (None, TrainSettings.detector)
    return not (named or settings.get("preset") or settings.get("weights"))


def train_run(
    store_path: str | Path,
    labels: Labels,
    out: Path,
    settings: TrainSettings,
    own: Mapping[str, object],
    *,
    reviews: str | Path | None,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    callbacks: Sequence[Callback],
) -> Run:
    """Train with complete settings; see `train`."""
    if (out / CARD).exists() and not overwrite:
        raise UsageError(f"{out} holds a finished run", hint="choose another --out, or --overwrite")
    data = load_training_data(store_path, labels, settings, own, reviews=reviews, quiet=quiet)
    if data.split.doubt:
        log.warning("%s", data.split.doubt)
    own = data.completed(own)
    card = _planned(data, labels, out, settings, own)
    going_on = _goes_on(out, card, resume=resume)
    detector = data.detector(settings, own)
    device = choose_device(settings.device)
    state = Fit.begin(detector.to(device), settings)
    with _resumable(out):
        if going_on:
            state.load(out / STATE)
            if settings.epochs < state.epoch + (state.best_epoch == 0):
                raise UsageError(
                    f"it has trained for {state.epoch} epochs, more than {settings.epochs}",
                    hint=f"set --epochs to {state.epoch + 1} or more",
                )
            log.info("going on after epoch %d", state.epoch)
        history = History(out, state.epoch)
    if not going_on:
        _begin_anew(out, card, resume=resume)
    inputs = data.inputs.to(device)
    n_epochs = settings.epochs - state.epoch
    begun = Training(out, {**asdict(settings), **own}, state.epoch)
    with telling(callbacks, begun) as told:
        with meter("train", n_epochs, unit="epochs", quiet=quiet) as progress:
            fit(
                state,
                data.train,
                data.selection,
                inputs,
                settings,
                history=history,
                told=told,
                state_path=out / STATE,
                progress=progress,
            )
        chosen = next(r for r in history.rows if r["epoch"] == state.best_epoch)
        detector.load_state_dict(state.best_weights)
        detector.finish()
        member = TrainedMember(card.members[0], detector.eval(), inputs)
        told.run = _finish(Run(out, card, [member]), data, chosen)
    return told.run


def _planned(
    data: TrainingData,
    labels: Labels,
    out: Path,
    settings: TrainSettings,
    own: Mapping[str, object],
) -> Card:
    """Return the card of a run before training, when neither epoch nor threshold is chosen."""
    visual_dim, text_dim = data.dims
    member = Member(
        settings.detector,
        dict(own),
        visual_dim,
        text_dim,
        data.streams(),
        smoothing=settings.smoothing,
        smoothing_rule=settings.smoothing_rule,
    )
    return Card(
        (member,),
        Selection(on="nothing yet"),
        threshold=0.5,
        training=settings,
        videos=data.split.parts,
        store=store_hint(out, str(data.store.backend)),
        labels=str(labels) if isinstance(labels, str | Path) else None,
        reviews=data.verdicts,
    )


def _goes_on(out: Path, planned: Card, *, resume: bool) -> bool:
    """Return True if `resume` is set and the folder has an unfinished run to continue.

    Raises UsageError if that run was begun with other settings, apart from the number of epochs.
    """
    if not resume or not (out / STATE).exists():
        return False
    with _resumable(out):
        if not (out / PLAN).exists():
            raise UsageError(f"{out} has no {PLAN}, which says how its run was begun")
        before = read_card_file(out / PLAN)
    changed = {
        "setting": differing_fields(before.training, planned.training, but=("epochs",)),
        "detector": differing_fields(before.members[0], planned.members[0]),
        "card entry": differing_fields(before, planned, but=("training", "members", "vad")),
    }
    for part, names in changed.items():
        if names:
            raise UsageError(
                f"{out} was begun with another {part} {names[0]}",
                hint=f"use the same settings, or {ANEW}",
            )
    return True


@contextmanager
def _resumable(out: Path) -> Iterator[None]:
    """Add what to do to the message about an unfinished run that cannot be gone on with."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{out} cannot be gone on with: {error}", hint=ANEW) from None


def _begin_anew(out: Path, card: Card, *, resume: bool) -> None:
    """Write the plan of a run that begins, and delete the state of an earlier one."""
    if resume:
        log.info("%s holds no run to go on with: training begins anew", out)
    elif (out / STATE).exists():
        log.warning("%s: training begins anew; the unfinished run that was there is gone", out)
    tell_others(out)
    (out / STATE).unlink(missing_ok=True)
    shutil.rmtree(out / BOARD, ignore_errors=True)
    card.write(out / PLAN)


def _finish(run: Run, data: TrainingData, chosen: Mapping[str, float]) -> Run:
    """Choose the threshold on the selection videos, write weights and card, and return the run."""
    split, threshold = data.split, 0.5
    if split.selection_videos:
        videos = [label.video for label in split.selection_videos]
        peaks = [run.score(**s).max() for s in read_each(data.store, run.names, videos)]
        threshold = best_threshold([label.label for label in split.selection_videos], peaks)
    selection = Selection(
        on=split.select if split.selection_videos else "nothing: the last epoch",
        epoch=int(chosen["epoch"]),
        figures={n: v for n, v in chosen.items() if n != "epoch"},
        videos=split.n_selection_videos,
        doubt=split.doubt,
    )
    card = replace(
        run.card,
        selection=selection,
        threshold=threshold,
        training_fps=FrameRates.of(
            data.store.map(data.store.record, [label.video for label in split.train])
        ),
        n_parameters=sum(p.numel() for p in run.only.detector.parameters()),
        created=now(),
    )
    finished = Run(run.path, card, run.members)
    finished.save()
    for left in (STATE, PLAN):
        (run.path / left).unlink(missing_ok=True)
    return finished
