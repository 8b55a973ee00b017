"""TEVAD: text-empowered video anomaly detection (Chen et al., CVPR Workshops 2023), and E-TEVAD.

TEVAD is RTFM on two kinds of features: the visual features of a snippet, and the sentence embedding
of its caption. Each kind has its own temporal network; then the two are fused. Scores and loss of
TEVAD equal those of github.com/coranholmes/TEVAD (6d701ff) to 1e-4. E-TEVAD follows the description
of github.com/Enhanced-TEVAD/Enhanced_Tevad (ec34a34), which publishes no weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..blocks.layers import Layers, Masked, blank, conv, mean_over_time, score_head, xavier
from ..blocks.temporal import TemporalNetwork, conv_relu_norm
from ..losses import Terms, class_magnitude
from ..selection import magnitude
from .interface import Batch, Detector, Form, Output
from .rtfm import feature_magnitude_terms
from .settings import TEVADSettings


class TEVAD(Detector):
    """Two temporal networks, a fusion, and RTFM's head.

    The branches of a temporal network have a quarter of its feature width. As in the published
    weights, both networks exist in every mode of fusion, even if only one is used. A detector
    without `text_dim` reads one kind of features (fusion "visual" or "text") and has one network.
    """

    settings: TEVADSettings

    def __init__(self, visual_dim: int, text_dim: int | None, settings: TEVADSettings) -> None:
        super().__init__(visual_dim, text_dim, settings)
        self.Aggregate = self.temporal_network(visual_dim)
        fused_dim = visual_dim
        if text_dim is not None:
            joint_dim = visual_dim + text_dim
            fused_dims = {"concat": joint_dim, "add_up": joint_dim, "visual": visual_dim}
            fused_dim = fused_dims.get(settings.fusion, text_dim)
            self.Aggregate_text = self.temporal_network(text_dim)
            if settings.fusion in ("add", "product"):
                self.fc0 = nn.Linear(visual_dim, text_dim)
            if settings.fusion == "add_up":
                self.fc_vis = nn.Linear(visual_dim, joint_dim)
                self.fc_text = nn.Linear(text_dim, joint_dim)
        self.fc1 = nn.Linear(fused_dim, 512)
        self.fc2 = nn.Linear(512, 128)
        self.fc3 = nn.Linear(128, 1)
        self.dropout = nn.Dropout(settings.dropout)
        xavier(self)

    def temporal_network(self, dim: int) -> nn.Module:
        """Return the temporal network for features of width `dim`."""
        return TemporalNetwork(dim, max(1, dim // 4))

    def run(self, batch: Batch) -> Output:
        """Compute fused features [videos, crops, snippets, dim] and scores."""
        visual = self.Aggregate(batch.channels(batch.visual), batch.mask)
        features = self.dropout(batch.unflatten(visual.transpose(1, 2)))
        if batch.text is not None:
            text = batch.text  # computed once per video, shared by its crops
            if self.settings.aggregate_text:
                text = self.Aggregate_text(text.transpose(1, 2), batch.valid).transpose(1, 2)
            text = text[:, None].expand(*features.shape[:3], -1)
            if self.settings.aggregate_text:
                text = self.dropout(text)
            features = self.fuse(features, text)
        scores = score_head(features, (self.fc1, self.fc2, self.fc3), self.dropout).mean(1)
        magnitudes = batch.blank(magnitude(features))
        return Output(batch.blank(scores), magnitudes, batch.lengths, {"features": features})

    def fuse(self, visual: Tensor, text: Tensor) -> Tensor:
        """Fuse visual and text features, [videos, crops, snippets, dim] each, by the fusion
        mode.
        """

        def lift(layer: nn.Linear, x: Tensor) -> Tensor:
            lifted: Tensor = self.dropout(torch.relu(layer(x)))
            return lifted

        match self.settings.fusion:
            case "concat":
                return torch.cat([visual, text], -1)
            case "add":
                return lift(self.fc0, visual) + text
            case "product":
                return lift(self.fc0, visual) * text
            case "add_up":
                return lift(self.fc_vis, visual) + lift(self.fc_text, text)
            case "visual":
                return visual
            case "text":
                return text

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Return RTFM's terms, but in the form "paper" with the magnitude term `class_magnitude`.

        That term is a mean over videos, RTFM's a mean over pairs of an abnormal and a normal video.
        labels is float [videos]; every term is a scalar.
        """
        return feature_magnitude_terms(
            output,
            labels,
            form,
            self.settings,
            training=self.training,
            magnitude_term=class_magnitude,
        )


class ETEVAD(TEVAD):
    """E-TEVAD: TEVAD with enhanced temporal networks, trained by classification and magnitude."""

    def temporal_network(self, dim: int) -> nn.Module:
        """Return a network with squeeze-and-excitation and a transformer layer, without non-local
        block.
        """
        return EnhancedNetwork(dim)


class EnhancedNetwork(Masked, nn.Module):
    """E-TEVAD's temporal network: dilated convolutions for near snippets, attention for far ones.

        x ─┬─ dilations 1, 2, 4 ─ fuse ─ squeeze-excite ─ three times ─┬─ concat ─ conv ─ + x
           └─ 1x1 ─ transformer layer ─────────────────────────────────┘

    x [rows, dim, snippets] -> the same shape; a branch has a quarter of the channels.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        width = max(1, dim // 4)
        self.pdc_block = PyramidConvolution(dim, width)
        self.se_module = SqueezeExcite(width)
        self.conv_4 = Layers(conv(dim, width, bias=False), nn.ReLU())
        self.transformer_block = TransformerBlock(width)
        self.conv_5 = conv_relu_norm(4 * width, dim, kernel=3, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        near = self.se_module(self.pdc_block(x, mask), mask).repeat(1, 3, 1)
        far = self.transformer_block(self.conv_4(x, mask), mask)
        changes: Tensor = self.conv_5(torch.cat([near, far], 1), mask)
        return changes + x


class PyramidConvolution(nn.Module):
    """Convolutions with dilations 1, 2 and 4 in parallel, fused to the width of one of them."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.conv_d1 = conv(dim, width, 3, dilation=1)
        self.conv_d2 = conv(dim, width, 3, dilation=2)
        self.conv_d3 = conv(dim, width, 3, dilation=4)
        self.fuse = conv(3 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return [rows, width, snippets] for x [rows, dim, snippets].

        mask, bool [rows, snippets], is false at padding.
        """
        scales = [layer(x) for layer in (self.conv_d1, self.conv_d2, self.conv_d3)]
        return blank(torch.relu(self.fuse(torch.relu(torch.cat(scales, 1)))), mask)


class SqueezeExcite(nn.Module):
    """Channel weights, computed from the channel means over the video (Hu et al., CVPR 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(1, width // 16)
        self.fc1 = nn.Linear(width, inner, bias=False)
        self.fc2 = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return a tensor of the shape of x, [rows, channels, snippets].

        mask, bool [rows, snippets], is false at padding.
        """
        weights = torch.sigmoid(self.fc2(torch.relu(self.fc1(mean_over_time(x, mask)))))
        return torch.mul(x, weights[..., None])


class TransformerBlock(nn.Module):
    """A post-norm transformer layer with 8 heads, or the most that divide both 8 and the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, math.gcd(8, width), 1024, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return a tensor of the shape of x, [rows, channels, snippets].

        mask, bool [rows, snippets], is false at padding.
        """
        padding = None if mask is None else ~mask
        with _attention_in_blocks():
            seen = self.transformer(x.transpose(1, 2), src_key_padding_mask=padding)
        return blank(seen.transpose(1, 2), mask)


@contextmanager
def _attention_in_blocks() -> Iterator[None]:
    """Switch off torch's fast path, whose memory grows with the square of the number of
    snippets.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
