"""Selection of the k snippets of a video that have the largest magnitude (or score)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import dropout


def vector_norm(x: Tensor) -> Tensor:
    """Return the L2 norm over the last axis: x [..., dim] -> [...]."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1)
    return norm


def magnitude(features: Tensor) -> Tensor:
    """Return the L2 norm of every snippet, averaged over crops.

    features is [videos, crops, snippets, dim]; the result is [videos, snippets].
    """
    return vector_norm(features).mean(1)


def valid_snippets(lengths: Tensor, snippets: int) -> Tensor:
    """Return a bool tensor [videos, snippets], false at padding."""
    return torch.arange(snippets, device=lengths.device) < lengths[:, None]


def snippet_mean(values: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean of values [videos, snippets] over snippets without padding, [videos]."""
    return (values * valid_snippets(lengths, values.shape[1])).sum(1) / lengths


@dataclass(frozen=True, slots=True)
class Selection:
    """The indices of the selected snippets of every video, best first.

    If a video has fewer than k snippets, all of them are selected; the remaining places have weight
    0 and repeat the first index.
    """

    index: Tensor  # int64 [videos, k]
    weight: Tensor  # [videos, k], 1 / number of selected snippets; sums to 1 per video

    def gather(self, values: Tensor) -> Tensor:
        """Return the selected snippets, [videos, crops, k, dim].

        values is [videos, crops, snippets, dim]. Places beyond a video's selected snippets are 0.
        """
        videos, crops, _, dim = values.shape
        index = self.index[:, None, :, None].expand(videos, crops, -1, dim)
        return values.gather(2, index) * (self.weight > 0)[:, None, :, None]

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the selected snippets.

        values is [videos, snippets], which gives [videos], or [videos, crops, snippets, dim], which
        gives [videos, crops, dim].
        """
        if values.ndim == 2:
            return (values.gather(1, self.index) * self.weight).sum(1)
        return (self.gather(values) * self.weight[:, None, :, None]).sum(2)


def top_k(values: Tensor, k: int | Tensor, lengths: Tensor, p_drop: float = 0.0) -> Selection:
    """Select the k largest values of every video.

    values [videos, snippets] must not be negative; k is one count, or a tensor [videos]; lengths is
    [videos]. With `p_drop`, each value is set to 0 with that probability and the others are scaled
    up, so that training does not always select the same snippets. If fewer than k values are left,
    dropped ones are selected as well.
    """
    values = dropout(values.detach(), p_drop)
    values = values.masked_fill(~valid_snippets(lengths, values.shape[1]), -1.0)
    wanted = torch.minimum(torch.as_tensor(k, device=lengths.device), lengths)  # [videos]
    index = values.topk(int(wanted.max()), dim=1).indices
    chosen = torch.arange(index.shape[1], device=index.device) < wanted[:, None]
    index = torch.where(chosen, index, index[:, :1])
    return Selection(index, chosen / wanted[:, None])
