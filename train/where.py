"""Where in the picture the score of a snippet comes from.

    features pooled over cells   gradient times value of every feature, at the cells that it was
                                 pooled from: the share of a linear detector's score, exactly
    features of every cell       the same, summed over the features of the cell
    normality, of every cell     how much farther from normal footage than usual the cell is

Of each member the cells that raise the score count. Members weigh as they do in the score. Features
that are not of cells, such as those of text, point nowhere.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vad.errors import UsageError
from vad.store.metadata import Cells, Pooled, Provenance

from .card import CARD, Card, Stream
from .detectors.normality import Normality
from .detectors.topk import TopK
from .run import LONG_SNIPPETS, Arrays, Run, TrainedMember
from .streams import Scaling


def arrays_for_where(card: Card) -> set[str]:
    """Return the stored arrays that `find_where` reads, where they are, beside those of the run."""
    pooled = [s for s in card.streams.values() if s.kind == "visual" and _cells_of(s)]
    return {f"{kind}/{s.name.partition('/')[2]}" for s in pooled for kind in ("places", "peaks")}


def made_of_cells(card: Card) -> Provenance | None:
    """Return how the features were made that are of cells of the picture; None if there are none,
    or if they divide it in several ways.
    """
    made = [s.provenance for s in card.streams.values() if s.provenance and s.provenance.cells]
    grids = {provenance.cells and provenance.cells.grid for provenance in made}
    return made[0] if len(grids) == 1 else None


def find_where(run: Run, arrays: Arrays) -> NDArray[np.float32] | None:
    """Return the share of each cell in what raises the score, [snippets, rows, columns].

    The shares of a snippet sum to 1, or are all 0 if nothing raises its score. Returns None if no
    features of the run tell where they are from. arrays: the stored arrays of one video by name,
    [snippets, crops, dim], and `peaks/<name>` [snippets, columns].
    """
    made = made_of_cells(run.card)
    if made is None or made.cells is None:
        return None
    n_cells = math.prod(made.cells.grid)
    for name, array in arrays.items():
        if name.startswith("places/") and array.shape[1] != n_cells:
            raise UsageError(
                f"{run.path / CARD}: the grid of cells is {list(made.cells.grid)}, but {name} has "
                f"{array.shape[1]} cells"
            )
    n_snippets = len(arrays[next(iter(run.card.streams))])
    pieces = [
        {name: array[start : start + LONG_SNIPPETS] for name, array in arrays.items()}
        for start in range(0, n_snippets, LONG_SNIPPETS)
    ]
    told = {
        index: torch.cat([_heat(member, piece, n_cells) for piece in pieces])
        for index, member in enumerate(run.members)
        if any(_tells(stream, arrays) for stream in member.card.streams)
    }
    if not told:
        return None
    weighed = [run.members[i].card.weight * _shares(heat) for i, heat in told.items()]
    return _shares(torch.stack(weighed).sum(0)).reshape(-1, *made.cells.grid).numpy()


def _shares(heat: Tensor) -> Tensor:
    """Return the positive parts of heat [snippets, cells], divided by their sum."""
    positive = heat.clamp_min(0)
    sums = positive.sum(1, keepdim=True)
    return positive / torch.where(sums > 0, sums, 1)


def _cells_of(stream: Stream) -> Cells | None:
    return stream.provenance.cells if stream.provenance else None


def _tells(stream: Stream, arrays: Arrays) -> bool:
    """Return True if features of a stream are of cells, or can be traced back to cells."""
    beside = {f"{kind}/{stream.name.partition('/')[2]}" for kind in ("places", "peaks")}
    return _cells_of(stream) is not None and not beside.isdisjoint(arrays)


def _heat(member: TrainedMember, arrays: Arrays, n_cells: int) -> Tensor:
    """Return how much every cell adds to a member's score, [snippets, cells], in any unit."""
    heat = torch.zeros(len(next(iter(arrays.values()))), n_cells)
    for stream in member.card.streams:
        cells = _cells_of(stream)
        if cells is None:
            continue
        if stream.kind == "visual":
            values = _contributions(member, stream, arrays)[:, 0]
            heat += _at_their_cells(values, stream, cells.pooled, arrays, n_cells)
        elif isinstance(member.detector, Normality):
            heat += _excess(member, member.detector, arrays)
        else:
            heat += _contributions(member, stream, arrays).sum(2)
    return heat


def _excess(member: TrainedMember, detector: Normality, arrays: Arrays) -> Tensor:
    """Return by how much the log distance of each cell exceeds the usual one of the video's most
    unusual cells, [snippets, cells].
    """
    visual, _ = _inputs(member, arrays)
    with torch.inference_mode():
        distances = detector.distances(visual[0])
    return distances.clamp_min(1e-6).log().sub(member.card.centre).T.float().cpu()


def _contributions(member: TrainedMember, stream: Stream, arrays: Arrays) -> Tensor:
    """Return gradient times value of the features of a stream, [snippets, crops, width].

    The gradient does not heed that the scaling limits outliers: these are what raises a score.
    """
    scaling = member.inputs.scalings[stream.input]
    width = scaling.dim or stream.width  # where text is beside it, visual features come first
    of_scaled = _gradient(member, arrays)[..., :width]
    values = torch.from_numpy(stream.of(arrays[stream.name]).astype(np.float32))
    return _of_features(of_scaled, scaling).cpu() * values


def _gradient(member: TrainedMember, arrays: Arrays) -> Tensor:
    """Return the gradient of the sum of all scores by the visual input, in any unit for each
    snippet: it can be broadcast to [snippets, crops, dim].
    """
    if isinstance(member.detector, TopK):  # of the logits: scores of 0 and 1 have no gradient
        return member.detector.score.weight.detach()
    visual, sentences = _inputs(member, arrays)
    visual.requires_grad_()
    with torch.enable_grad():
        scores = member.detector(visual, sentences).scores
    (gradient,) = torch.autograd.grad(scores.sum(), visual)
    return gradient[0].transpose(0, 1)


def _of_features(gradient: Tensor, scaling: Scaling) -> Tensor:
    """Return the gradient of the features, given that of the scaled features [..., width]."""
    if scaling.basis is not None:
        gradient = gradient @ scaling.basis.T
    return gradient if scaling.scale is None else gradient / scaling.scale


def _inputs(member: TrainedMember, arrays: Arrays) -> tuple[Tensor, Tensor | None]:
    streams = member.card.streams
    return member.inputs.of_arrays({s.input: s.of(arrays[s.name]) for s in streams})


def _at_their_cells(
    values: Tensor, stream: Stream, pooled: tuple[Pooled, ...], arrays: Arrays, n_cells: int
) -> Tensor:
    """Return values [snippets, width] of pooled columns at their cells, summed: [snippets, cells].

    A maximum lies in one cell. A mean is divided as its parts in the cells are, whose values are
    not negative.
    """
    first = stream.columns[0] if stream.columns else 0
    name = stream.name.partition("/")[2]
    peaks, places = arrays.get(f"peaks/{name}"), arrays.get(f"places/{name}")
    heat = torch.zeros(len(values), n_cells)
    for part in pooled:
        start, stop = (column - first for column in part.columns)
        chosen = values[:, start:stop]
        if start < 0 or chosen.shape[1] < stop - start:
            continue  # columns that the member does not read
        if part.by == "peaks":
            if peaks is not None:
                heat.scatter_add_(1, torch.from_numpy(peaks.astype(np.int64)), chosen)
        elif places is not None:
            of = torch.from_numpy(places[..., slice(*part.of)].astype(np.float32))
            if part.by == "maximum":
                heat.scatter_add_(1, of.argmax(1), chosen)
            else:
                shares = of.clamp_min(0) / of.clamp_min(0).sum(1, keepdim=True).clamp_min(1e-9)
                heat += torch.einsum("sw,scw->sc", chosen, shares)
    return heat
