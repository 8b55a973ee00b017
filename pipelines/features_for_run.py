"""Extract the features of new videos exactly as those that a trained run was trained on.

The settings are read from the card of the run, so that nothing needs to be repeated on the command
line. If this machine would make different features, the error names the setting that differs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from vad.config import build, options
from vad.errors import UsageError
from vad.stages.extract.backbones import find_backbone
from vad.stages.extract.captioners import find_captioner
from vad.stages.extract.captioners.settings import CaptionSettings
from vad.stages.extract.captioners.table import CAPTIONERS
from vad.stages.extract.captions.maker import load_captions
from vad.stages.extract.captions.run import decoding_of as decoding_of_captions
from vad.stages.extract.captions.run import embed, load_encoder
from vad.stages.extract.features import FeatureMaker, decoding_of, load_features
from vad.stages.extract.outcome import Outcome
from vad.stages.extract.pipeline import Maker
from vad.stages.extract.records import refuse_mix
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
<<<<<<< HEAD
    visual = settings_of(run, rest) if "visual" in run.names else None
    text = caption_settings_of(run, rest) if "text" in run.names else None
    makers: list[Maker] = []
    if visual:
        features = FeatureMaker(backbone_for_plan(visual, where), visual)
        check_provenance(run, features.provenance)
        makers, decoding = [features], decoding_of(visual, features.tail)
=======
    visual = [settings_of(stream, chosen, rest) for stream in extracted(chosen)]
    text = caption_settings_of(chosen, rest) if chosen.card.of_kind("text") else None
    makers: list[Maker] = []
    for stream, settings in zip(extracted(chosen), visual, strict=True):
        features = FeatureMaker(backbone_for_plan(settings, where), settings)
        check_provenance(stream, chosen, features.provenance)
        makers.append(features)
        decoding = decoding_of(settings, features.tail)
>>>>>>> 12078a4 (vad train without a detector: members, cross-fitted, weighted, calibrated; features of parts; networks on a CPU by OpenVINO)
    if text:
        makers += load_captions(text, _captioner(text))
        decoding = decoding if visual else decoding_of_captions(text)
    opened = FeatureStore.create(store)
    for maker in makers:
        refuse_mix(opened, maker.arrays[0], maker.provenance, hint="score with another --store")
    runner = VideoRunner(
        opened.backend.address,
        partial(_load, visual, text),
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
        encoder = load_encoder(text)
        embed(opened, _captioner(text), encoder, text.name, outcome, quiet=quiet)
        for source in sources:
            if source.id not in outcome.failed:
                on_stored(source.id)
    return outcome


def _captioner(settings: CaptionSettings) -> str:
    return find_captioner(settings.captioner or "labels").name


def extracted(chosen: Run) -> list[Stream]:
    """Return one of the streams of every backbone whose features a run reads."""
    streams = chosen.card.of_kind("visual") + chosen.card.of_kind("places")
    return list({stream.name.partition("/")[2]: stream for stream in reversed(streams)}.values())


def _load(
    visual: list[ExtractSettings], text: CaptionSettings | None, device: str | None
) -> list[Maker]:
    """Return the makers of the arrays that a run reads, loaded on a device.

    Worker processes on other devices and machines call this function.
    """
    makers = [maker for settings in visual for maker in load_features(settings, device)]
    return makers + (load_captions(text, _captioner(text), device) if text else [])


# The fields of a provenance that are needed to make such arrays again.
VISUAL_FIELDS = ("backbone", "weights", "recipe", "crop_set", "tail", "dtype")
TEXT_FIELDS = ("encoder",)


<<<<<<< HEAD
def settings_of(run: Run, given: Mapping[str, object]) -> ExtractSettings:
    """Return the extraction settings that the run's features were made with, overridden by `given`.
=======
@dataclass(frozen=True)
class _VisualMade:
    """The fields of a visual feature array's provenance that are needed to extract such features
    again.
    """

    backbone: str
    weights: _Named
    recipe: _Named
    crop_set: Literal["ten", "five", "center", "whole"]
    tail: Literal["repeat-last", "loop", "drop"]
    dtype: Literal["float16", "float32"]


@dataclass(frozen=True)
class _Captions:
    captioner: str | None = None
    window: int | None = None
    stride: int = 16
    files: object = None


@dataclass(frozen=True)
class _TextMade:
    """The fields of a text array's provenance that are needed to make such captions and embeddings
    again.
    """

    encoder: str
    captions: _Captions = _Captions()


def settings_of(stream: Stream, chosen: Run, given: Mapping[str, object]) -> ExtractSettings:
    """Return the extraction settings that a stream of a run was made with, overridden by `given`.
>>>>>>> 12078a4 (vad train without a detector: members, cross-fitted, weighted, calibrated; features of parts; networks on a CPU by OpenVINO)

    Raises UsageError if the run does not record them, or if it names weights that are neither known
    nor inside its project folder: a card may come from an untrusted source.
    """
<<<<<<< HEAD
    made = _made(run, "visual", VISUAL_FIELDS, "extract")
=======
    made = _made(chosen, stream, _VisualMade, "extract")
>>>>>>> 12078a4 (vad train without a detector: members, cross-fitted, weighted, calibrated; features of parts; networks on a CPU by OpenVINO)
    if not given.get("weights"):
        _require_known_weights(run, made)
    recorded = {
        "backbone": made.backbone,
        "weights": made.weights and made.weights.name,
        "recipe": made.recipe and made.recipe.name,
        "crops": made.crop_set,
        "tail": made.tail,
        "dtype": made.dtype,
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


<<<<<<< HEAD
def check_provenance(run: Run, ours: Provenance) -> None:
    """Raise UsageError unless the provenance `ours` equals that of the run's training features."""
    trained = run.card.streams["visual"].provenance or Provenance({})
    if differing := differences(trained, ours):
=======
def check_provenance(stream: Stream, chosen: Run, ours: Mapping[str, object]) -> None:
    """Raise UsageError unless the provenance `ours` equals that of the run's training features."""
    if differing := differences(stream.provenance or {}, ours):
>>>>>>> 12078a4 (vad train without a detector: members, cross-fitted, weighted, calibrated; features of parts; networks on a CPU by OpenVINO)
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
<<<<<<< HEAD
    made = _made(run, "text", TEXT_FIELDS, "caption")
    captions = made.captions or Provenance({})
=======
    stream = chosen.card.of_kind("text")[0]
    made = _made(chosen, stream, _TextMade, "caption")
    captions = made.captions
>>>>>>> 12078a4 (vad train without a detector: members, cross-fitted, weighted, calibrated; features of parts; networks on a CPU by OpenVINO)
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
<<<<<<< HEAD
        "name": run.names["text"].removeprefix("text/"),
=======
        "name": stream.name.removeprefix("text/"),
>>>>>>> 12078a4 (vad train without a detector: members, cross-fitted, weighted, calibrated; features of parts; networks on a CPU by OpenVINO)
        "window": captions.window,
    }
    if captions.stride is not None:
        recorded["stride"] = captions.stride
    ours = options(CaptionSettings)
    shared = {name: value for name, value in given.items() if name in ours}
    return build(CaptionSettings, recorded, shared, where="score")


def captioner_of(run: Run) -> str | None:
    """Return the name of the captioner whose captions a run reads; None if its card does not record
    one.
    """
<<<<<<< HEAD
    stream = run.card.streams.get("text")
    made = stream.provenance if stream else None
    return made.captions.captioner if made and made.captions else None


def _made(run: Run, kind: Kind, fields: Sequence[str], verb: str) -> Provenance:
    """Return how the run's training features of one kind were made.
=======
    streams = chosen.card.of_kind("text")
    captions = (streams[0].provenance or {}).get("captions") if streams else None
    name = captions.get("captioner") if isinstance(captions, dict) else None
    return name if isinstance(name, str) else None


def _made(chosen: Run, stream: Stream, cls: type[Made], verb: str) -> Made:
    """Return how a stream of the run was made, as an instance of `cls`.
>>>>>>> 12078a4 (vad train without a detector: members, cross-fitted, weighted, calibrated; features of parts; networks on a CPU by OpenVINO)

    Raises UsageError if the card does not record all of `fields`. verb: the command that the hint
    names.
    """
<<<<<<< HEAD
    stream = run.card.streams[kind]
    made = stream.provenance
    if made is None or made.assumed is not None:
=======
    if stream.provenance is None or "assumed" in stream.provenance:
>>>>>>> 12078a4 (vad train without a detector: members, cross-fitted, weighted, calibrated; features of parts; networks on a CPU by OpenVINO)
        raise UsageError(
            f"{run.path} does not say how its features were made",
            hint=f"vad {verb} the videos as they were, then score with --store",
        )
    for name in fields:
        if getattr(made, name) is None:
            raise UsageError(f"{run.path / CARD}: provenance of {stream.name}: {name} is missing")
    return made
