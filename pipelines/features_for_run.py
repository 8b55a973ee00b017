"""Extract the features of new videos exactly as those that a trained run was trained on.

The settings are read from the card of the run, so that nothing needs to be repeated on the command
line. If this machine would make different features, the error names the setting that differs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from vad.config import build, options
from vad.errors import UsageError
from vad.grid import DENSE, Sampling
from vad.stages.extract.backbones import find_backbone
from vad.stages.extract.captioners import find_captioner
from vad.stages.extract.captioners.settings import CaptionSettings
from vad.stages.extract.captioners.table import CAPTIONERS
from vad.stages.extract.features import (
    FeatureMaker,
    decoding_of,
    load_backbone,
    load_features,
    provenance_of,
)
from vad.stages.extract.outcome import Outcome
from vad.stages.extract.pipeline import Maker
from vad.stages.extract.records import refuse_mix, refuse_sampling
from vad.stages.extract.runner import VideoRunner, run_videos
from vad.stages.extract.sentences.table import ENCODERS
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import Source
from vad.stages.train.card import CARD, Stream
from vad.stages.train.run import Run, project_folder
from vad.store import FeatureStore, Provenance, differences

from .executors.run import backbone_for_plan, executor_for
from .executors.settings import split


def make_features(
    run: Run,
    sources: list[Source],
    store: str | Path,
    given: Mapping[str, object],
    *,
    quiet: bool,
    on_stored: Callable[[str], None],
) -> Outcome:
    """Store the arrays that a run reads, for each video: visual features, text, or both from one
    decoding.

    given: executor settings, and extraction settings that do not change features, such as `device`.
    on_stored is called with the id of each video as soon as all arrays that the run reads are
    stored: right after the video itself, or, if the run reads text, after the captions of all
    videos are embedded. Raises UsageError if the features would differ from those that the run was
    trained on, or if its captions came from a file, which does not cover other videos.
    """
    where, rest = split(given, where="score")
    streams = extracted(run)
    visual = [settings_of(stream, run, rest) for stream in streams]
    text = caption_settings_of(run, rest) if run.card.of_kind("text") else None
    makers: list[Maker] = []
    for stream, settings in zip(streams, visual, strict=True):
        features = FeatureMaker(backbone_for_plan(settings, where), settings)
        check_provenance(stream, run, features.provenance)
        makers.append(features)
        decoding = decoding_of(settings, features.grid)
    sampling = makers[0].provenance.sampling if makers else text_sampling(run)
    if text:
        from vad.stages.extract.captions import maker as captions  # loads transformers
        from vad.stages.extract.captions import run as captioning

        makers += captions.load_captions(text, _captioner(text), sampling)
        decoding = decoding if visual else captioning.decoding_of(text, sampling)
    opened = FeatureStore.create(store)
    hint = "score with another --store"
    for maker in makers:
        refuse_mix(opened, maker.arrays[0], maker.provenance, hint=hint)
    refuse_sampling(opened, sampling, hint=hint)
    runner = VideoRunner(
        opened.backend.address,
        partial(_load, visual, text, sampling),
        {maker.arrays[0]: maker.provenance for maker in makers},
        decoding,
        joins=not visual,
        makers=makers,
    )
    outcome = Outcome()
    run_videos(
        runner,
        sources,
        outcome,
        verb="extract",
        quiet=quiet,
        executor=executor_for(where, rest.get("device", "auto")),
        on_stored=(lambda video: None) if text else on_stored,
    )
    if text:
        encoder = captioning.load_encoder(text)
        captioning.embed(opened, _captioner(text), encoder, text.name, outcome, quiet=quiet)
        for source in sources:
            if source.id not in outcome.failed:
                on_stored(source.id)
    return outcome


def _captioner(settings: CaptionSettings) -> str:
    return find_captioner(settings.captioner or "labels").name


def extracted(run: Run) -> list[Stream]:
    """Return one of the streams of every backbone whose features a run reads."""
    streams = run.card.of_kind("visual") + run.card.of_kind("places")
    return list({stream.name.partition("/")[2]: stream for stream in reversed(streams)}.values())


def _load(
    visual: list[ExtractSettings],
    text: CaptionSettings | None,
    sampling: Sampling,
    device: str | None,
) -> list[Maker]:
    """Return the makers of the arrays that a run reads, loaded on a device.

    Worker processes on other devices and machines call this function.
    """
    makers = [maker for settings in visual for maker in load_features(settings, device)]
    if text:
        from vad.stages.extract.captions.maker import load_captions

        makers += load_captions(text, _captioner(text), sampling, device)
    return makers


def features_for_weights(given: Mapping[str, object]) -> Stream:
    """Return the card entry of the visual features that a backbone makes by these extraction
    settings, for a run of imported weights. Without a recipe, it is that of the published features,
    as published detectors read them. The backbone's weights are downloaded if they are not on this
    machine.
    """
    settings = build(ExtractSettings, {}, given, where="import detector")
    card = find_backbone(settings.backbone)
    settings = replace(settings, recipe=settings.recipe or card.published)
    backbone = load_backbone(settings)
    made = provenance_of(backbone, settings)
    return Stream(backbone.arrays[0], card.dim, len(backbone.crops), made)


# The fields of a provenance that are needed to make such arrays again.
VISUAL_FIELDS = ("backbone", "weights", "recipe", "crop_set", "tail", "dtype")
TEXT_FIELDS = ("encoder",)


def settings_of(stream: Stream, run: Run, given: Mapping[str, object]) -> ExtractSettings:
    """Return the extraction settings that a stream of a run was made with, overridden by `given`.

    Raises UsageError if the run does not record them, or if it names weights that are neither known
    nor inside its project folder: a card may come from an untrusted source.
    """
    made = _made(run, stream, VISUAL_FIELDS, "extract")
    if not given.get("weights"):
        _require_known_weights(run, made)
    recorded = {
        "backbone": made.backbone,
        "weights": made.weights and made.weights.name,
        "recipe": made.recipe and made.recipe.name,
        "crops": made.crop_set,
        "tail": made.tail,
        **asdict(made.sampling),
        "dtype": made.dtype,
        "places": made.places or "full",
    }
    own = {name: value for name, value in given.items() if name != "encoder"}  # of captions
    return build(ExtractSettings, recorded, own, where="score")


def _require_known_weights(run: Run, made: Provenance) -> None:
    name = made.weights.name if made.weights else None
    if name is None or name.startswith("random:"):
        return
    if made.backbone and find_backbone(made.backbone).known(name):
        return
    project = project_folder(run.path)
    with contextlib.suppress(OSError, ValueError):
        if Path(name).resolve().is_relative_to(project):
            return
    raise UsageError(
        f"{run.path} was trained on features of the weights {name!r}, which are not known here",
        hint="name them, if you trust them: --weights NAME|FILE",
    )


def check_provenance(stream: Stream, run: Run, ours: Provenance) -> None:
    """Raise UsageError unless the provenance `ours` equals that of the run's training features."""
    if differing := differences(stream.provenance or Provenance({}), ours):
        field, (theirs, here) = next(iter(differing.items()))
        raise UsageError(
            f"{run.path} was trained on features with {field} {theirs!r}, "
            f"here it would be {here!r}",
            hint="give the same weights with --weights",
        )


def caption_settings_of(run: Run, given: Mapping[str, object]) -> CaptionSettings:
    """Return the caption settings that the run's text was made with, overridden by `given`.

    Raises UsageError if its captions came from a file, or if its captioner or encoder is unknown.
    """
    stream = run.card.of_kind("text")[0]
    made = _made(run, stream, TEXT_FIELDS, "caption")
    captions = made.captions or Provenance({})
    if captions.files is not None or captions.captioner is None:
        raise UsageError(
            f"{run.path} reads captions of a file, and a captioner cannot make such",
            hint="vad caption STORE --captioner file:PATH for these videos, then --store STORE",
        )
    if captions.captioner not in CAPTIONERS:
        raise UsageError(
            f"{run.path} reads captions of {captions.captioner!r}, which is not known here",
            hint="vad caption STORE for these videos, then score with --store STORE",
        )
    if made.encoder not in ENCODERS and not given.get("encoder"):
        raise UsageError(
            f"{run.path} reads sentences of {made.encoder!r}, which is not known here",
            hint="name it, if you trust it: --encoder NAME|FOLDER",
        )
    recorded: dict[str, object] = {
        "captioner": captions.captioner,
        "encoder": made.encoder,
        "name": stream.name.removeprefix("text/"),
        "window": captions.window,
    }
    if captions.stride is not None:
        recorded["stride"] = captions.stride
    ours = options(CaptionSettings)
    shared = {name: value for name, value in given.items() if name in ours}
    return build(CaptionSettings, recorded, shared, where="score")


def text_sampling(run: Run) -> Sampling:
    """Return the sampling of the snippets whose captions a run reads."""
    made = run.card.of_kind("text")[0].provenance
    return made.captions.sampling if made and made.captions else DENSE


def captioner_of(run: Run) -> str | None:
    """Return the name of the captioner whose captions a run reads; None if its card does not record
    one.
    """
    streams = run.card.of_kind("text")
    made = streams[0].provenance if streams else None
    return made.captions.captioner if made and made.captions else None


def _made(run: Run, stream: Stream, fields: Sequence[str], verb: str) -> Provenance:
    """Return how a stream of the run was made.

    Raises UsageError if the card does not record all of `fields`. verb: the command that the hint
    names.
    """
    made = stream.provenance
    if made is None or made.assumed is not None:
        raise UsageError(
            f"{run.path} does not say how its features were made",
            hint=f"vad {verb} the videos as they were, then score with --store",
        )
    for name in fields:
        if getattr(made, name) is None:
            raise UsageError(f"{run.path / CARD}: provenance of {stream.name}: {name} is missing")
    return made
