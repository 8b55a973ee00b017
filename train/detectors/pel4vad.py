"""PEL4VAD: prompt-enhanced learning (Pu et al., TIP 2024, arXiv 2306.14451).

The network has an attention over the whole video and over a window at once, and a causal
classifier. In training, features of abnormal and of normal snippets are drawn towards sentence
features (prompts) of the anomaly class and of the normal class. Scores and loss equal those of
github.com/yujiangpu20/PEL4VAD (eeb31f4) to 1e-4.
"""

from __future__ import annotations

import math

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.functional import gelu, kl_div, normalize, pad

from vad.errors import UsageError

from ..blocks.attention import blocks_of
from ..losses import Terms, video_bce, weighted
from ..selection import magnitude, top_k, valid_snippets
from .interface import Batch, Detector, Form, Output
from .settings import PEL4VADSettings

# width of CLIP's sentence features, and of the snippet features compared with them
PROMPT_DIM = 512


class Nearness(nn.Module):
    """A learnt bias for attention between snippets i and j: `exp(-|w (i - j)² - b|)`."""

    def __init__(self, w: float, b: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([w]))
        self.b = nn.Parameter(torch.tensor([b]))

    def forward(self, apart: Tensor) -> Tensor:
        """Return the bias for the distances apart = j - i.

        apart is [snippets, snippets]; the result has the same shape.
        """
        return (-(self.w * apart.square() - self.b).abs()).exp()


class ContextAttention(nn.Module):
    """One-head attention over the whole video and over a window, mixed by a learnt weight."""

    def __init__(self, dim: int, settings: PEL4VADSettings) -> None:
        super().__init__()
        self.window, self.norm = settings.window, settings.norm
        self.alpha = nn.Parameter(torch.tensor(0.0))
        self.q, self.k, self.v = (nn.Linear(dim, 128) for _ in range(3))
        self.o = nn.Linear(128, dim)

    def forward(self, x: Tensor, nearness: Nearness, mask: Tensor | None) -> Tensor:
        """Return a tensor of the shape of x, [rows, snippets, dim].

        mask, bool [rows, snippets], is false at padding.
        """
        query, key, value = self.q(x), self.k(x), self.v(x)
        at, share = torch.arange(x.shape[1], device=x.device), torch.sigmoid(self.alpha)
        parts = []
        for start, stop in blocks_of(x.shape[1]):
            apart = at - at[start:stop, None]
            likeness = query[:, start:stop] @ key.transpose(1, 2) / math.sqrt(
                query.shape[-1]
            ) + nearness(apart)
            if mask is not None:
                likeness = likeness.masked_fill(~mask[:, None], -1e9)
            local = likeness.masked_fill(~self._windows(apart), -1e9).softmax(-1)
            parts.append((share * likeness.softmax(-1) + (1 - share) * local) @ value)
        gathered = torch.cat(parts, 1)
        if self.norm:  # over snippets, as in the released code, which uses torch's default axis
            roots = gathered.sign() * gathered.abs().clamp(min=1e-12).sqrt()
            gathered = normalize(roots if mask is None else roots * mask[..., None], dim=1)
        out: Tensor = self.o(gathered)
        return out

    def _windows(self, apart: Tensor) -> Tensor:
        """Return True where a snippet is inside the window, which is centred if its size is odd.

        apart is j - i; the window begins half its size before snippet i.
        """
        offset = apart + self.window // 2
        return (offset >= 0) & (offset < self.window)


class ContextAggregation(nn.Module):
    """Attention and two layers per snippet: 512 channels to compare with prompts, 300 to score."""

    def __init__(self, dim: int, settings: PEL4VADSettings) -> None:
        super().__init__()
        self.self_attn = ContextAttention(dim, settings)
        self.linear1 = nn.Conv1d(dim, PROMPT_DIM, 1)
        self.linear2 = nn.Conv1d(PROMPT_DIM, 300, 1)
        self.norm = nn.LayerNorm(dim)
        self.loc_adj = Nearness(settings.w, settings.b)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return [rows, 512, snippets] and [rows, 300, snippets] for x [rows, snippets, dim].

        mask, bool [rows, snippets], is false at padding.
        """
        x = self.norm(x + self.self_attn(x, self.loc_adj, mask))
        compared = self.dropout(gelu(self.linear1(x.transpose(1, 2))))
        return compared, self.dropout(gelu(self.linear2(compared)))


class PEL4VAD(Detector):
    """Context aggregation and a causal classifier. Each crop of a video is a sample.

    `prompts [classes, 512]` are sentence features of the classes, the normal one first. Only
    training needs them; without them the prompt term is left out. Unlike the released code,
    attention ignores padding if `lengths` are given.
    """

    settings: PEL4VADSettings
    prompts: Tensor | None
    published_batch = "any"

    def __init__(
        self,
        visual_dim: int,
        text_dim: int | None,
        settings: PEL4VADSettings,
        prompts: ArrayLike | None = None,
    ) -> None:
        super().__init__(visual_dim, text_dim, settings)
        self.hold("prompts", prompts, PROMPT_DIM)
        self.self_attention = ContextAggregation(visual_dim, settings)
        self.classifier = nn.Conv1d(300, 1, settings.t_step)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / settings.temperature)))
        for layer in self.modules():
            if isinstance(layer, nn.Conv1d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)

    def run(self, batch: Batch) -> Output:
        """Compute features [videos, crops, snippets, 512] and scores [videos, crops, snippets]."""
        compared, hidden = self.self_attention(batch.visual.flatten(0, 1), batch.mask)
        logits = self.classifier(pad(hidden, (self.settings.t_step - 1, 0)))[:, 0]
        crop_scores = batch.unflatten(torch.sigmoid(logits))
        features = batch.unflatten(compared.transpose(1, 2))
        parts = {"features": features, "crop_scores": crop_scores}
        magnitudes = batch.blank(magnitude(features))
        return Output(batch.blank(crop_scores.mean(1)), magnitudes, batch.lengths, parts)

    def loss(
        self,
        output: Output,
        labels: Tensor,
        form: Form = "paper",
        categories: Tensor | None = None,
    ) -> Terms:
        """Return the terms of `Detector.loss`, and the prompt term if the detector has prompts.

        categories, int [videos], are the row of each video's class in `prompts`, 0 for normal. They
        may be left out if there are two prompts, normal and abnormal. Raises UsageError if there
        are more prompts and no categories.
        """
        terms = super().loss(output, labels, form)
        if self.prompts is None:
            return terms
        if categories is None:
            if len(self.prompts) != 2:
                raise UsageError(
                    f"with prompts of {len(self.prompts)} classes the loss needs the videos' "
                    "categories",
                    hint="give categories=, or prompts of two classes, normal and abnormal",
                )
            categories = labels.to(self.prompts.device, torch.int64)
        sentences = self.prompts[torch.stack([torch.zeros_like(categories), categories], 1)]
        prompt = self.prompt_term(output, sentences, categories, form)
        total = terms["total"] + self.settings.prompt * prompt
        return {**terms, "prompt": prompt, "total": total}

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Return the classification term.

        The score of a normal video is its highest snippet score, that of an abnormal one the mean
        of its `snippets // 16 + 1` highest. labels is float [videos]; every term is a scalar.
        """
        scores, labels, lengths = self._rows(output, labels)
        k = torch.where(labels > 0.5, lengths // 16 + 1, 1)
        video_scores = top_k(scores, k, lengths).mean(scores)
        return weighted({"classification": video_bce(video_scores, labels)}, {})

    def prompt_term(
        self, output: Output, sentences: Tensor, categories: Tensor, form: Form
    ) -> Tensor:
        """Return a Kullback-Leibler divergence between snippet features and class sentences.

        sentences [videos, 2, 512] are the normal sentence and that of the video's class. For every
        row, the mean of its features weighted by score shall be near the sentence of its class. For
        abnormal rows, the mean weighted by 1 - score shall also be near the normal sentence.
        Padding is included in the form "published".
        """
        scores, categories, lengths = self._rows(output, categories)
        features = output.parts["features"].flatten(0, 1)
        sentences = sentences.repeat_interleave(output.parts["features"].shape[1], 0)
        true = valid_snippets(lengths, scores.shape[1])
        counted = true if form == "paper" else torch.ones_like(true)
        by_score, by_rest = (
            normalize(((10 * x).exp() - 1) * counted, p=1, dim=1)[:, None] @ features
            for x in (scores, 1 - scores)
        )
        abnormal = categories > 0
        rows = normalize(torch.cat([by_score[:, 0], by_rest[abnormal, 0]]), dim=-1)
        own = torch.where(abnormal[:, None], sentences[:, 1], sentences[:, 0])
        texts = normalize(torch.cat([own, sentences[abnormal, 0]]), dim=-1)
        classes = torch.cat([categories, torch.zeros_like(categories[abnormal])])
        logits = self.logit_scale.exp() * rows @ texts.T
        same = (classes[:, None] == classes).to(logits)
        return kl_div(logits.log_softmax(1), (10 * same).softmax(1), reduction="batchmean")

    def _rows(self, output: Output, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores [rows, snippets], values [rows] and lengths [rows]; a row is one crop."""
        scores = output.parts["crop_scores"]
        values, lengths = (x.repeat_interleave(scores.shape[1]) for x in (values, output.lengths))
        return scores.flatten(0, 1), values, lengths
