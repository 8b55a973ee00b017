"""UR-DMU: uncertainty-regulated dual memory units (Zhou et al., AAAI 2023, arXiv 2302.05160).

Two memories learn patterns of normal and of abnormal snippets. A snippet is scored from its own
features and from what both memories recall for it, which is a sum of their patterns. Scores and
loss equal those of github.com/henrryzh1/UR-DMU (40cfdf5) to 1e-4.
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
    """A set of learnt patterns, which are compared with snippets and reconstruct them."""

    def __init__(self, slots: int, width: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.memory_block = nn.Parameter(torch.empty(slots, width).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the similarity [rows, snippets] and the recalled features, of the shape of x.

        x is [rows, snippets, width]. The similarity is the mean response of the `slots // 16 + 1`
        patterns that respond most; the recalled features are the sum of all patterns, weighted by
        their responses.
        """
        slots, width = self.memory_block.shape
        responses = torch.sigmoid(x @ self.memory_block.T / width**0.5)
        likeness = responses.topk(min(slots, slots // 16 + 1)).values.mean(-1)
        return likeness, responses @ self.memory_block


class ScoreHead(nn.Module):
    """Two layers that score a snippet from its features and the recalled ones, concatenated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * width, 128), nn.ReLU(), nn.Linear(128, 1))

    def forward(self, x: Tensor, recalled: Tensor) -> Tensor:
        """Return scores [rows, snippets]; x and recalled are [rows, snippets, width]."""
        return torch.sigmoid(self.mlp(torch.cat([x, recalled], -1))).squeeze(-1)


class URDMU(Detector):
    """Embedding, transformer, two memories and a score head. Each crop of a video is a sample."""

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
        """Compute embedded snippets [videos, crops, snippets, width] and scores, without
        sampling.
        """
        mask = batch.mask
        x = self.selfatt(self.embedding(batch.channels(batch.visual), mask), mask)
        recalled = sum(self.encoder_mu(memory(x)[1]) for memory in (self.Amemory, self.Nmemory))
        scores = batch.unflatten(self.cls_head(x, recalled)).mean(1)
        features = batch.unflatten(x)
        magnitudes = batch.blank(magnitude(features))
        return Output(batch.blank(scores), magnitudes, batch.lengths, {"features": features})

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Return classification, four memory terms, triplet, divergence and distance.

        Where normal and abnormal rows are compared, the released code pairs them by position; the
        form "paper" takes all pairs. For the divergence of the features recalled by the normal
        memory, the released code sums over time and averages over channels; the form "paper" does
        the reverse. labels is float [videos]; every term is a scalar.
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
        """Query both memories for snippets x [rows, snippets, width].

        In training, what the normal memory recalls for normal rows is sampled from a Gaussian.
        """
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
    """The output of both memories, abnormal (a) and normal (n), for a batch of rows.

    A row is one crop of one video.
    """

    x: Tensor  # [rows, snippets, width]
    abnormal: Tensor  # bool [rows]
    lengths: Tensor  # [rows]
    k: Tensor  # [rows], number of snippets selected in each row
    scores: Tensor  # [rows, snippets]
    likeness_a: Tensor  # [rows, snippets]
    likeness_n: Tensor
    mu_a: Tensor  # [rows, snippets, width], encoded features recalled by the abnormal memory
    sampled_n: Tensor  # the same of the normal memory, sampled around its mean
    divergence: Tensor  # [rows, snippets, width], of that Gaussian from a standard normal one

    def best(self, likeness: Tensor, values: Tensor) -> Tensor:
        """Return the mean [rows, width] of values over the snippets with the highest likeness.

        values is [rows, snippets, width]; k snippets are selected in each row.
        """
        return top_k(likeness, self.k, self.lengths).mean(values[:, None])[:, 0]


def memory_terms(read: Reading) -> dict[str, Tensor | None]:
    """Return four terms that train the similarities of snippets to both memories.

    In abnormal rows some snippets shall be similar to the abnormal memory and some dissimilar to
    the normal one. In normal rows all snippets shall be similar to the normal memory and dissimilar
    to the abnormal one. A term is None if its class is missing.
    """
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
    """Return triplet, divergence and distance, which compare normal rows with abnormal ones.

    The normal snippets of normal rows shall be near the normal snippets of abnormal rows, and far
    from the abnormal ones. A term is None if a class that it needs is missing.
    """
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
    if form == "paper":  # every normal row with every abnormal one, not only with its partner
        anchor, length_n = anchor[:, None], length_n[:, None]
    near, far = (vector_norm(anchor - other + 1e-6) for other in (positive, negative))
    terms["triplet"] = relu(1 + near - far).mean()
    terms["distance"] = relu(margin - length_a + length_n).mean()
    return terms
