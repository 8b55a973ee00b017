"""Which snippets speak for a video: the k of the largest magnitude (or score)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import dropout


def vector_norm(x: Tensor) -> Tensor:
    """L2 norm over the last axis.

    x [..., dim] -> [...].
    """
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1)
    return norm


def magnitude(features: Tensor) -> Tensor:
    """L2 norm of every snippet, mean over crops.

    features [videos, crops, snippets, dim] -> [videos, snippets]
    """
    return vector_norm(features).mean(1)


def valid_snippets(lengths: Tensor, snippets: int) -> Tensor:
    """bool [videos, snippets], false at padding."""
    return torch.arange(snippets, device=lengths.device) < lengths[:, None]


def snippet_mean(values: Tensor, lengths: Tensor) -> Tensor:
    """Mean over the true snippets: values [videos, snippets] -> [videos]."""
    return (values * valid_snippets(lengths, values.shape[1])).sum(1) / lengths


@dataclass(frozen=True, slots=True)
class Selection:
    """The snippets selected in every video, best first.

    A video with fewer than k true snippets selects all of them; the places left over have
    weight 0 and repeat a true snippet's index.
    """

    index: Tensor  # int64 [videos, k]
    weight: Tensor  # [videos, k], 1 / number selected; sums to 1 a video

    def gather(self, values: Tensor) -> Tensor:
        """[videos, crops, snippets, dim] -> [videos, crops, k, dim], 0 at places left over."""
        videos, crops, _, dim = values.shape
        index = self.index[:, None, :, None].expand(videos, crops, -1, dim)
        return values.gather(2, index) * (self.weight > 0)[:, None, :, None]

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the selected snippets: [videos, snippets] -> [videos], or with crops and dim:
        [videos, crops, snippets, dim] -> [videos, crops, dim]."""
        if values.ndim == 2:
            return (values.gather(1, self.index) * self.weight).sum(1)
        return (self.gather(values) * self.weight[:, None, :, None]).sum(2)


def top_k(values: Tensor, k: int | Tensor, lengths: Tensor, p_drop: float = 0.0) -> Selection:
    """Select the k largest of every video.

    values [videos, snippets], not negative; k one count, or one a video; lengths [videos].
    Candidates are dropped with probability `p_drop` and the rest scaled up, so that training does
    not always select the same; where fewer than k survive, dropped ones fill up.
    """
    values = dropout(values.detach(), p_drop)
    values = values.masked_fill(~valid_snippets(lengths, values.shape[1]), -1.0)
    wanted = torch.minimum(torch.as_tensor(k, device=lengths.device), lengths)  # [videos]
    index = values.topk(int(wanted.max()), dim=1).indices
    chosen = torch.arange(index.shape[1], device=index.device) < wanted[:, None]
    index = torch.where(chosen, index, index[:, :1])
    return Selection(index, chosen / wanted[:, None])
