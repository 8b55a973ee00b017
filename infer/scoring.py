"""Score stored videos: read features, apply a run, and yield scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError, VideoError
from vad.stages.train.run import Run
from vad.stages.train.streams import read_streams
from vad.stages.train.where import arrays_for_where, find_where, made_of_cells
from vad.store import ARRAYS_AT_ONCE, FeatureStore, VideoRecord, differences

from .scores import VideoScores
from .where import Where, view_of

Streams = dict[str, NDArray[np.floating]]  # features [snippets, crops, dim] by kind
Arrays = dict[str, NDArray[np.generic]]  # arrays of a video by name
# of a video: record, times, what the run reads, and what tells where scores come from
_Read = tuple[VideoRecord, NDArray[np.float64], Streams, Arrays]


def score_stored(
    store: FeatureStore,
    run: Run,
    video_ids: Iterable[str] | None = None,
    *,
    where: bool = False,
    on_failed: Callable[[str, VideoError], None] | None = None,
) -> Iterator[VideoScores]:
    """Yield the scores of stored videos one by one: of all videos, or of those in `video_ids`.

    where: also tell where in the picture the scores come from, if the features do. If the data of a
    video are damaged, raises VideoError; with `on_failed`, calls it with the video and the error
    instead and goes on. Raises UsageError if the features were not made like those that the run was
    trained on.
    """

    beside = arrays_for_where(run.card) if where else set()
    if run.familiarity:
        beside = beside | {run.familiarity.array}
    if run.naming:
        beside = beside | {run.naming.array}

    def read(
        video_id: str,
    ) -> tuple[VideoRecord, NDArray[np.float64], Streams, Arrays] | VideoError:
        try:
            check_features(store, run, video_id)
            streams = read_streams(store, run.names, video_id)
            others = beside.intersection(store.names(video_id)).difference(run.names.values())
            arrays = {name: store.read(video_id, name) for name in others}
            return store.record(video_id), store.times(video_id), streams, arrays
        except VideoError as error:
            return error

    ids = store.ids() if video_ids is None else list(video_ids)
    every = store.map(read, ids, at_once=ARRAYS_AT_ONCE)
    for video_id, found in zip(ids, every, strict=True):
        if isinstance(found, VideoError):
            if on_failed is None:
                raise found
            on_failed(video_id, found)
            continue
        record, times, streams, others = found
        arrays = others | {name: streams[key] for key, name in run.names.items()}
        snippets, kinds = run.judge(**streams)
        if run.naming and run.naming.array in arrays:
            kinds = run.naming.of(arrays[run.naming.array], snippets)
        yield VideoScores(
            video=video_id,
            record=record,
            snippets=snippets,
            kinds=kinds,
            times=times,
            threshold=run.threshold,
            detector=run.name,
            where=where_of(run, arrays, record.width, record.height) if where else None,
            prior=run.prior,
            normal_footage=run.normal_footage,
            familiarity=_familiarity(run, arrays),
            training_fps=run.card.training_fps,
            camera=run.card.camera.name if run.card.camera else "",
        )


def _familiarity(run: Run, arrays: Arrays) -> float | None:
    """Return the familiarity of one video, or None if the run does not know."""
    known = run.familiarity
    return known.of(arrays[known.array]) if known and known.array in arrays else None


def where_of(run: Run, arrays: Arrays, width: int, height: int) -> Where | None:
    """Return where the scores of one video come from, in thousandths, as files hold it.

    arrays: as `find_where` takes them. width, height: of the video as shown, in pixels. Returns
    None if the features do not tell, or if the size of the picture is not known.
    """
    shares, made = find_where(run, arrays), made_of_cells(run.card)
    if shares is None or made is None or not (width and height):
        return None
    return Where(shares.round(3), view_of(made, width, height))


def check_features(store: FeatureStore, run: Run, video_id: str) -> None:
    """Raise UsageError unless a video's features were made like the training features of a run.

    For imported weights it is often unknown how their features were made; then only the feature
    width is compared.
    """
    for stream in run.card.streams.values():
        name, dim, trained = stream.name, stream.dim, stream.provenance
        stored = store.info(video_id, name)
        made = "caption" if stream.kind == "text" else "extract"
        if stored.shape[-1] != dim:
            raise UsageError(
                f"{run.path} reads {name} of {dim} values per snippet, {video_id!r} in "
                f"{store.backend} has {stored.shape[-1]}",
                hint=f"{made} the videos as the training videos were",
            )
        differing = differences(trained, stored.provenance) if trained is not None else {}
        if differing:
            field, (wanted, found) = next(iter(differing.items()))
            raise UsageError(
                f"{run.path} was trained on {name} with {field} {wanted!r}, "
                f"{video_id!r} in {store.backend} has {found!r}",
                hint=f"{made} the videos as the training videos were",
            )
