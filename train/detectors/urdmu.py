"""UR-DMU: uncertainty-regulated dual memory units (Zhou et al., AAAI 2023, arXiv 2302.05160).

Two memories learn what normal and what abnormal snippets are like. A snippet is scored by itself
and by what both memories recall of it. Scores and loss equal those of github.com/henrryzh1/UR-DMU
(40cfdf5) to 1e-4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from ..blocks.attention import Embedding, Transformer
from ..losses import Terms, group_mean, video_bce, weighted
from ..selection import magnitude, snippet_mean, top_k, valid_snippets, vector_norm
from .interface import Batch, Detector, Form, Output
from .settings import URDMUSettings


class Memory(nn.Module):
    """Patterns, how much a snippet is like them, and what they recall of it."""

    def __init__(self, slots: int, width: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.memory_block = nn.Parameter(torch.empty(slots, width).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [rows, snippets, width] -> likeness [rows, snippets], recalled like x.

        The likeness is the mean of the sixteenth (and one) of the slots that respond most.
        """
        slots, width = self.memory_block.shape
        responses = torch.sigmoid(x @ self.memory_block.T / width**0.5)
        likeness = responses.topk(min(slots, slots // 16 + 1)).values.mean(-1)
        return likeness, responses @ self.memory_block


class ScoreHead(nn.Module):
    """A snippet and what is recalled of it, side by side, to a score."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * width, 128), nn.ReLU(), nn.Linear(128, 1))

    def forward(self, x: Tensor, recalled: Tensor) -> Tensor:
        """x, recalled [rows, snippets, width] -> scores [rows, snippets]."""
        return torch.sigmoid(self.mlp(torch.cat([x, recalled], -1))).squeeze(-1)


class URDMU(Detector):
    """Embedding, transformer, the two memories, a head. A crop of a video is a sample."""

    settings: URDMUSettings

    def __init__(self, visual_dim: int, text_dim: int | None, settings: URDMUSettings) -> None:
        super().__init__(visual_dim, text_dim, settings)
        width = settings.width
        self.embedding = Embedding(visual_dim, width)
        self.selfatt = Transformer(width, settings.dropout)
        self.Amemory = Memory(settings.slots, width)
        self.Nmemory = Memory(settings.slots, width)
        self.encoder_mu = nn.Sequential(nn.Linear(width, width))
        self.encoder_var = nn.Sequential(nn.Linear(width, width))
        self.cls_head = ScoreHead(width)

    def run(self, batch: Batch) -> Output:
        """Embedded snippets [videos, crops, snippets, width] and their scores, without sampling."""
        mask = batch.mask
        x = self.selfatt(self.embedding(batch.channels(batch.visual), mask), mask)
        recalled = sum(self.encoder_mu(memory(x)[1]) for memory in (self.Amemory, self.Nmemory))
        scores = batch.unflatten(self.cls_head(x, recalled)).mean(1)
        features = batch.unflatten(x)
        magnitudes = batch.blank(magnitude(features))
        return Output(batch.blank(scores), magnitudes, batch.lengths, {"features": features})

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Classification, what either memory must say of either class, triplet, KL and distance.

        Where normal and abnormal videos are compared, the released code takes them in pairs, the
        paper's form all with all. The released code sums the divergence of what the normal memory
        recalls over time and averages it over channels; the paper's form does the reverse.

        labels float [videos]; every term is a scalar.
        """
        features = output.parts["features"]
        labels, lengths = (x.repeat_interleave(features.shape[1]) for x in (labels, output.lengths))
        read = self._read(features.flatten(0, 1), labels > 0.5, lengths)
        scores = top_k(read.scores, read.k, lengths).mean(read.scores)
        terms: dict[str, Tensor | None] = {"classification": video_bce(scores, labels)}
        settings = self.settings
        weights = {
            "triplet": settings.triplet,
            "divergence": settings.divergence,
            "distance": settings.distance,
        }
        for name, term in memory_terms(read).items():
            terms[name], weights[name] = term, settings.memory
        return weighted({**terms, **comparison_terms(read, settings.margin, form)}, weights)

    def _read(self, x: Tensor, abnormal: Tensor, lengths: Tensor) -> Reading:
        """Ask both memories of snippets x [rows, snippets, width]; normal rows are sampled."""
        likeness_a, recalled_a = self.Amemory(x)
        likeness_n, recalled_n = self.Nmemory(x)
        mu_a, mu_n = self.encoder_mu(recalled_a), self.encoder_mu(recalled_n)
        log_variance = self.encoder_var(recalled_n)
        noise = torch.randn_like(mu_n) if self.training else torch.zeros_like(mu_n)
        sampled = mu_n + noise * (log_variance / 2).exp()
        recalled = mu_a + torch.where(abnormal[:, None, None], mu_n, sampled)
        return Reading(
            x=x,
            abnormal=abnormal,
            lengths=lengths,
            k=lengths // 16 + 1,
            scores=self.cls_head(x, recalled) * valid_snippets(lengths, x.shape[1]),
            likeness_a=likeness_a,
            likeness_n=likeness_n,
            mu_a=mu_a,
            sampled_n=sampled,
            divergence=-0.5 * (1 + log_variance - mu_n.square() - log_variance.exp()),
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """What the two memories, abnormal (a) and normal (n), say of a batch of rows."""

    x: Tensor  # [rows, snippets, width]
    abnormal: Tensor  # bool [rows]
    lengths: Tensor  # [rows]
    k: Tensor  # [rows], snippets that speak for a row
    scores: Tensor  # [rows, snippets]
    likeness_a: Tensor  # [rows, snippets]
    likeness_n: Tensor
    mu_a: Tensor  # [rows, snippets, width], what is recalled, encoded
    sampled_n: Tensor  # the same of the normal memory, drawn around its mean
    divergence: Tensor  # [rows, snippets, width], of that draw from a standard normal one

    def best(self, likeness: Tensor, values: Tensor) -> Tensor:
        """Mean of values [rows, snippets, width] where the likeness is highest: [rows, width]."""
        return top_k(likeness, self.k, self.lengths).mean(values[:, None])[:, 0]


def memory_terms(read: Reading) -> dict[str, Tensor | None]:
    """Each memory knows its class in some snippets of abnormal videos and in all of normal ones."""
    normal, abnormal, lengths = ~read.abnormal, read.abnormal, read.lengths

    def some(likeness: Tensor) -> Tensor:
        return -top_k(likeness, read.k, lengths).mean(likeness).log()

    def every(likeness: Tensor) -> Tensor:
        return snippet_mean(-likeness.log(), lengths)

    return {
        "a_abnormal": group_mean(some(read.likeness_a)[abnormal]),
        "n_abnormal": group_mean(some(1 - read.likeness_n)[abnormal]),
        "a_normal": group_mean(every(1 - read.likeness_a)[normal]),
        "n_normal": group_mean(every(read.likeness_n)[normal]),
    }


def comparison_terms(read: Reading, margin: float, form: Form) -> dict[str, Tensor | None]:
    """Normal snippets near normal ones of abnormal videos, and far from abnormal ones."""
    normal, abnormal = ~read.abnormal, read.abnormal
    divergence = read.divergence[normal]
    if form == "published":
        rows = snippet_mean(divergence.mean(-1), read.lengths[normal]) * read.lengths[normal]
    else:
        rows = snippet_mean(divergence.sum(-1), read.lengths[normal])
    terms: dict[str, Tensor | None] = {
        "triplet": None,
        "divergence": group_mean(rows),
        "distance": None,
    }
    if not (bool(normal.any()) and bool(abnormal.any())):
        return terms
    anchor = normalize(read.best(read.likeness_n, read.x)[normal], dim=-1)
    positive = normalize(read.best(read.likeness_n, read.x)[abnormal], dim=-1)
    negative = normalize(read.best(read.likeness_a, read.x)[abnormal], dim=-1)
    length_n = vector_norm(read.best(read.likeness_n, read.sampled_n))[normal]
    length_a = vector_norm(read.best(read.likeness_a, read.mu_a))[abnormal]
    if form == "paper":  # every normal row against every abnormal one, not only its partner
        anchor, length_n = anchor[:, None], length_n[:, None]
    near, far = (vector_norm(anchor - other + 1e-6) for other in (positive, negative))
    terms["triplet"] = relu(1 + near - far).mean()
    terms["distance"] = relu(margin - length_a + length_n).mean()
    return terms
