"""MGFN: magnitude-contrastive glance-and-focus network (Chen et al., AAAI 2023, arXiv 2211.15098).

A glance block attends to the whole video; a focus block is a convolution over neighbouring snippets
whose kernels are shared between channels. The loss pulls the magnitudes of videos of one class
together and pushes those of the two classes apart. Scores and loss equal those of
github.com/carolchenyx/MGFN. (98e9389) to 1e-4.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pairwise_distance

from ..blocks.layers import BatchNorm, blank, conv
from ..losses import Terms, abnormal_regularity, group_mean, smoothness_sums, video_bce, weighted
from ..selection import magnitude, top_k, vector_norm
from .interface import Batch, Detector, Form, Output
from .settings import MGFNSettings

DEPTHS = (3, 3, 2)  # numbers of layers of the glance stage and of the two focus stages
GROWTH = (1, 2, 16)  # widths and numbers of heads of the stages, relative to the first


class ChannelNorm(nn.Module):
    """Layer normalisation over channels, with epsilon added to the deviation, not to the
    variance.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, width, 1))
        self.b = nn.Parameter(torch.zeros(1, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of x, [rows, channels, snippets]."""
        variance, mean = torch.var_mean(x, dim=1, unbiased=False, keepdim=True)
        # at padding the variance is 0, where the root has no gradient
        deviation = variance.clamp_min(1e-24).sqrt()
        return (x - mean) / (deviation + 1e-5) * self.g + self.b


class Glance(nn.Module):
    """Multi-head self-attention over all snippets; a head has consecutive channels."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(width)
        self.to_qkv = conv(width, 3 * width, bias=False)
        self.to_out = conv(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return a tensor of the shape of x, [rows, channels, snippets].

        mask, bool [rows, snippets], is false at padding.
        """
        channels = self.to_qkv(self.norm(x)).chunk(3, dim=1)
        # If these were not contiguous, torch would compute the whole attention matrix at once.
        query, key, value = (
            c.unflatten(1, (self.heads, -1)).transpose(2, 3).contiguous() for c in channels
        )
        seen = None if mask is None else mask[:, None, None, :]
        gathered = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return self.to_out(gathered.transpose(2, 3).flatten(1, 2))  # type: ignore[no-any-return]


class Focus(nn.Module):
    """A convolution over five snippets with one kernel per head; channel c belongs to head c %
    heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = BatchNorm(width)
        self.to_v = conv(width, width, bias=False)
        self.rel_pos = nn.Conv1d(heads, heads, 5, padding=2, groups=heads)
        self.to_out = conv(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return a tensor of the shape of x, [rows, channels, snippets].

        mask, bool [rows, snippets], is false at padding.
        """
        value = blank(self.to_v(self.norm(x, mask)), mask)
        shared = self.rel_pos(value.reshape(-1, self.heads, value.shape[-1]))
        return self.to_out(shared.reshape(value.shape))  # type: ignore[no-any-return]


def feed_forward(width: int) -> nn.Sequential:
    """Return two layers applied to each snippet, with four times the width between them.

    The dropout with probability 0 keeps the numbering of the published weights.
    """
    inner = 4 * width
    return nn.Sequential(
        ChannelNorm(width), conv(width, inner), nn.GELU(), nn.Dropout(0.0), conv(inner, width)
    )


class Layer(nn.Sequential):
    """Convolution, attention (glance or focus) and feed-forward, each with a residual
    connection.
    """

    def __init__(self, kind: type[Glance | Focus], width: int, heads: int) -> None:
        super().__init__(conv(width, width, 3), kind(width, heads), feed_forward(width))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return a tensor of the shape of x, [rows, channels, snippets].

        mask, bool [rows, snippets], is false at padding.
        """
        convolve, attend, feed = self
        x = blank(convolve(x) + x, mask)
        x = blank(attend(x, mask) + x, mask)
        return blank(feed(x) + x, mask)


class Stack(nn.Module):
    """A sequence of layers of one width."""

    def __init__(self, kind: type[Glance | Focus], width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(kind, width, heads) for _ in range(depth))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return a tensor of the shape of x, [rows, channels, snippets].

        mask, bool [rows, snippets], is false at padding.
        """
        for layer in self.layers:
            x = layer(x, mask)
        return x


class Stage(nn.Sequential):
    """A stack of layers, and a projection to the width of the next stage."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return [rows, channels of the next stage, snippets] for x [rows, channels, snippets]."""
        stack, widen = self
        return blank(widen(stack(x, mask)), mask)


class MGFN(Detector):
    """A glance stage, two focus stages, and a linear classifier on layer-normalised features.

    Magnitudes are those of the normalised features, unlike in the paper's figure, because the
    published weights require this.
    """

    settings: MGFNSettings

    def __init__(self, visual_dim: int, text_dim: int | None, settings: MGFNSettings) -> None:
        super().__init__(visual_dim, text_dim, settings)
        widths = [settings.width * growth for growth in GROWTH]
        self.to_tokens = conv(visual_dim, widths[0], 3)
        self.to_mag = conv(1, widths[0], 3)
        kinds: tuple[type[Glance | Focus], ...] = (Glance, Focus, Focus)
        stacks = [Stack(*sizes) for sizes in zip(kinds, widths, GROWTH, DEPTHS, strict=True)]
        steps: list[nn.Module] = [
            nn.Sequential(ChannelNorm(width), conv(width, wider))
            for width, wider in pairwise(widths)
        ]
        steps.append(nn.Identity())
        self.stages = nn.ModuleList(map(Stage, stacks, steps))
        self.to_logits = nn.Sequential(nn.LayerNorm(widths[-1]))
        self.fc = nn.Linear(widths[-1], 1)

    def run(self, batch: Batch) -> Output:
        """Compute features [videos, crops, snippets, dim] and scores."""
        norms = vector_norm(batch.visual)[..., None]
        x = self.to_tokens(batch.channels(batch.visual))
        x = blank(x + self.settings.ratio * self.to_mag(batch.channels(norms)), batch.mask)
        for stage in self.stages:
            x = stage(x, batch.mask)
        features = batch.unflatten(self.to_logits(x.transpose(1, 2)))
        scores = torch.sigmoid(self.fc(features)).squeeze(-1).mean(1)
        magnitudes = batch.blank(magnitude(features))
        return Output(batch.blank(scores), magnitudes, batch.lengths, {"features": features})

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Return classification, three contrastive terms, smoothness and sparsity.

        The contrastive terms compare videos by the L1 norms of their k selected features. In the
        form "paper" all pairs of two different videos count, and smoothness and sparsity are those
        of RTFM. The released code (since 2023-04-11) pairs, within a class, the first half of the
        crops with the second half of the *same* videos; its smoothness is that of all videos, its
        sparsity that of the normal ones. labels is float [videos]; every term is a scalar.
        """
        settings = self.settings
        p_drop = settings.dropout if self.training else 0.0
        selection = top_k(output.magnitudes, settings.k, output.lengths, p_drop)
        norms = selection.gather(output.parts["features"]).abs().sum(-1)  # [videos, crops, k]
        abnormal = labels > 0.5
        terms: dict[str, Tensor | None] = {
            "classification": video_bce(selection.mean(output.scores), labels)
        }
        if form == "published":
            terms |= mirrored_contrast(norms[abnormal], norms[~abnormal], settings.margin)
            terms["smoothness"] = smoothness_sums(output.scores, output.lengths).sum()
            terms["sparsity"] = vector_norm(output.scores[~abnormal].flatten())
        else:
            means = norms.mean(1)
            terms |= contrast(means[abnormal], means[~abnormal], settings.margin)
            terms |= abnormal_regularity(output.scores, output.lengths, labels)
        weights = {
            "apart": settings.contrast * settings.apart,
            "near_abnormal": settings.contrast,
            "near_normal": settings.contrast,
            "smoothness": settings.smooth,
            "sparsity": settings.sparse,
        }
        return weighted(terms, weights)


def contrast(abnormal: Tensor, normal: Tensor, margin: float) -> dict[str, Tensor | None]:
    """Return terms that keep the two classes `margin` apart, and the videos of one class together.

    abnormal is [n, k], normal [m, k]. "apart" is a mean over all n * m pairs, the others over all
    pairs of two different videos of a class. A term is None if there is no such pair.
    """
    terms: dict[str, Tensor | None] = {"apart": None}
    if len(abnormal) and len(normal):
        apart = vector_norm(abnormal[:, None] - normal)
        terms["apart"] = (margin - apart).clamp(min=0).square().mean()
    for name, group in (("near_abnormal", abnormal), ("near_normal", normal)):
        first, second = torch.triu_indices(len(group), len(group), 1, device=group.device)
        terms[name] = group_mean((group[first] - group[second]).square().sum(-1))
    return terms


def mirrored_contrast(abnormal: Tensor, normal: Tensor, margin: float) -> dict[str, Tensor | None]:
    """Return the terms of `contrast` as the released code computes them.

    abnormal and normal are norms [videos, crops, k], flattened crop by crop. The two classes are
    compared entry by entry; within a class, the first half of the list is compared with the second
    half. With ten crops, this compares every crop with its mirror image.
    """
    abnormal, normal = (norms.transpose(0, 1).flatten(0, 1) for norms in (abnormal, normal))
    apart = (margin - pairwise_distance(abnormal, normal)).clamp(min=0).square().mean()
    terms: dict[str, Tensor | None] = {"apart": apart}
    half = len(normal) // 2
    for name, group in (("near_abnormal", abnormal), ("near_normal", normal)):
        terms[name] = group_mean(pairwise_distance(group[half : 2 * half], group[:half]).square())
    return terms
