"""MGFN: magnitude-contrastive glance-and-focus network (Chen et al., AAAI 2023, arXiv 2211.15098).

A glance block looks at the whole video by self-attention, focus blocks at neighbouring snippets by
a convolution whose weights the channels share. The magnitudes of videos of one class are drawn
together, those of two classes apart. Scores and loss equal those of
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

DEPTHS = (3, 3, 2)  # layers of the glance stage and of the two focus stages
GROWTH = (1, 2, 16)  # their widths, and numbers of heads, over that of the first


class ChannelNorm(nn.Module):
    """Layer normalisation over channels; epsilon is added to the deviation, outside the root."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, width, 1))
        self.b = nn.Parameter(torch.zeros(1, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x [rows, channels, snippets] -> the same shape."""
        variance, mean = torch.var_mean(x, dim=1, unbiased=False, keepdim=True)
        deviation = variance.clamp_min(1e-24).sqrt()  # at padding: a root of 0 has no gradient
        return (x - mean) / (deviation + 1e-5) * self.g + self.b


class Glance(nn.Module):
    """Self-attention over all snippets. Channels are split head by head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(width)
        self.to_qkv = conv(width, 3 * width, bias=False)
        self.to_out = conv(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x [rows, channels, snippets] -> the same shape.

        mask, bool [rows, snippets], is false at padding.
        """
        channels = self.to_qkv(self.norm(x)).chunk(3, dim=1)
        # Contiguous, or torch would make all likenesses of all snippets at once.
        query, key, value = (
            c.unflatten(1, (self.heads, -1)).transpose(2, 3).contiguous() for c in channels
        )
        seen = None if mask is None else mask[:, None, None, :]
        gathered = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return self.to_out(gathered.transpose(2, 3).flatten(1, 2))  # type: ignore[no-any-return]


class Focus(nn.Module):
    """A convolution over five snippets with one kernel a head; the head is the fastest axis."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = BatchNorm(width)
        self.to_v = conv(width, width, bias=False)
        self.rel_pos = nn.Conv1d(heads, heads, 5, padding=2, groups=heads)
        self.to_out = conv(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x [rows, channels, snippets] -> the same shape.

        mask, bool [rows, snippets], is false at padding.
        """
        value = blank(self.to_v(self.norm(x, mask)), mask)
        shared = self.rel_pos(value.reshape(-1, self.heads, value.shape[-1]))
        return self.to_out(shared.reshape(value.shape))  # type: ignore[no-any-return]


def feed_forward(width: int) -> nn.Sequential:
    """Per snippet, four times as wide inside. The idle dropout keeps the published numbering."""
    inner = 4 * width
    return nn.Sequential(
        ChannelNorm(width), conv(width, inner), nn.GELU(), nn.Dropout(0.0), conv(inner, width)
    )


class Layer(nn.Sequential):
    """Convolution, attention and feed-forward, each added to its input."""

    def __init__(self, kind: type[Glance | Focus], width: int, heads: int) -> None:
        super().__init__(conv(width, width, 3), kind(width, heads), feed_forward(width))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [rows, channels, snippets] -> the same shape.

        mask, bool [rows, snippets], is false at padding.
        """
        convolve, attend, feed = self
        x = blank(convolve(x) + x, mask)
        x = blank(attend(x, mask) + x, mask)
        return blank(feed(x) + x, mask)


class Stack(nn.Module):
    """Layers of one width, one after the other."""

    def __init__(self, kind: type[Glance | Focus], width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(kind, width, heads) for _ in range(depth))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x [rows, channels, snippets] -> the same shape.

        mask, bool [rows, snippets], is false at padding.
        """
        for layer in self.layers:
            x = layer(x, mask)
        return x


class Stage(nn.Sequential):
    """A stack, and the step to the next stage's width."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [rows, channels, snippets] -> [rows, channels of the next stage, snippets]."""
        stack, widen = self
        return blank(widen(stack(x, mask)), mask)


class MGFN(Detector):
    """Glance, focus, focus, then a linear classifier on normalised features.

    The features whose magnitude counts are the output of that last normalisation, unlike the
    paper's figure: the published weights need it so.
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
        """Features [videos, crops, snippets, dim] and their scores."""
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
        """Classification, three contrastive terms, smoothness and sparsity.

        The contrast compares videos by the L1 norms of their k selected features. In the paper's
        form every pair of two different videos counts, and the last two terms are RTFM's. The
        released code (since 2023-04-11) pairs, within a class, one half of the crops with the
        other of the *same* videos, smooths all videos and holds the normal ones sparse.

        labels float [videos]; every term is a scalar.
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
    """Videos of two classes at least `margin` apart, those of one class together.

    abnormal [n, k], normal [m, k]; means over the n m pairs, and over the pairs of two different
    videos of a class. None where there is no such pair.
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
    """As released: norms [videos, crops, k] of either class are laid out crop by crop; the classes
    are compared entry by entry, and within a class the first half of that list with the second,
    which at ten crops is every crop with its mirror image."""
    abnormal, normal = (norms.transpose(0, 1).flatten(0, 1) for norms in (abnormal, normal))
    apart = (margin - pairwise_distance(abnormal, normal)).clamp(min=0).square().mean()
    terms: dict[str, Tensor | None] = {"apart": apart}
    half = len(normal) // 2
    for name, group in (("near_abnormal", abnormal), ("near_normal", normal)):
        terms[name] = group_mean(pairwise_distance(group[half : 2 * half], group[:half]).square())
    return terms
