"""DSANet (AAAI 2026): VadCLIP with three more parts.

Adapters in CLIP's text tower take the place of VadCLIP's learnt vectors; one vector of what is
abnormal in a video and one of what is normal are compared with the class vectors; and prototypes of
normal snippets reconstruct the features, well where a snippet is normal. The last two act in
training alone. Scores, class shares and loss equal those of github.com/lessiYin/DSANet (1417406) to
1e-4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, leaky_relu, normalize

from ..blocks.clip import QuickMLP, TextTower
from ..losses import Terms, weighted
from ..selection import valid_snippets
from .interface import Form, Output
from .settings import DSANetSettings
from .vadclip import CLASS_TEMPERATURE, ClassDetector, class_entropy

N_PROTOTYPES, N_DECODERS = 16, 8
NORMAL_SHARE = 0.8  # of a chunk's snippets, those of lowest score, that prototypes are made of
SHARPNESS = 10.0  # of the weights by score
SMOOTH = 0.1  # share of the targets that is spread over all classes
ELSEWHERE = 0.01  # weight of abnormal classes in the target of what is normal


class Adapter(nn.Module):
    """A linear layer without bias and a leaky ReLU."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        layer = nn.Linear(width, outputs, bias=False)
        nn.init.xavier_uniform_(layer.weight)
        self.fc = nn.Sequential(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., outputs] for x [..., width]."""
        return leaky_relu(self.fc(x))


class TextAdapter(nn.Module):
    """The adapters of the first blocks of a text tower, and the last, which reads it out."""

    def __init__(self, width: int, dim: int, n_blocks: int, share: float) -> None:
        super().__init__()
        self.share = share
        widths = [width] * n_blocks + [dim]
        self.text_adapter = nn.ModuleList(Adapter(width, outputs) for outputs in widths)

    def adapt(self, index: int, x: Tensor) -> Tensor:
        """Return the output x [..., width] of a block, mixed with the adapted one."""
        if index >= len(self.text_adapter) - 1:
            return x
        adapted: Tensor = self.text_adapter[index](x)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        own = torch.linalg.vector_norm(adapted, dim=-1, keepdim=True)
        mixed: Tensor = self.share * adapted * norm / (own + 1e-6) + (1 - self.share) * x
        return mixed


class PrototypeAttention(nn.Module):
    """Attention of a query to prototypes or features, with 8 heads.

    Decoders compare directions, by a learnt factor for each head, and take ReLU instead of softmax.
    """

    def __init__(self, dim: int, *, decodes: bool) -> None:
        super().__init__()
        self.heads = math.gcd(8, dim)
        self.q, self.kv, self.proj = (
            nn.Linear(dim, dim),
            nn.Linear(dim, 2 * dim),
            nn.Linear(dim, dim),
        )
        self.learn_scale = nn.Parameter(torch.ones(self.heads, 1, 1)) if decodes else None

    def forward(self, query: Tensor, seen: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return a tensor of the shape of query [rows, n, dim]; seen is [rows, m, dim].

        mask, bool [rows, m], is false for what softmax attention leaves out.
        """
        parts = (self.q(query), *self.kv(seen).chunk(2, dim=-1))
        q, k, v = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
        if self.learn_scale is None:
            alike = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
            if mask is not None:
                alike = alike.masked_fill(~mask[:, None, None], -math.inf)
            weights = alike.softmax(-1)
        else:
            alike = normalize(q, dim=-1) @ normalize(k, dim=-1).transpose(2, 3)
            weights = torch.relu(alike * self.learn_scale)
        out: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return out


class MLP(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of x, [..., dim]."""
        out: Tensor = self.fc2(nn.functional.gelu(self.fc1(x)))
        return out


class PrototypeBlock(nn.Module):
    """Attention and MLP; a decoder has no residual around its attention."""

    def __init__(self, dim: int, *, decodes: bool) -> None:
        super().__init__()
        self.decodes = decodes
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-8), nn.LayerNorm(dim, eps=1e-8)
        self.attn, self.mlp = PrototypeAttention(dim, decodes=decodes), MLP(dim)

    def forward(self, x: Tensor, seen: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return a tensor of the shape of x [rows, n, dim].

        seen is [rows, m, dim]; mask, bool [rows, m], is as for the attention.
        """
        gathered = self.attn(self.norm1(x), self.norm1(seen), mask)
        x = gathered if self.decodes else x + gathered
        return torch.add(x, self.mlp(self.norm2(x)))


class Refiner(nn.Module):
    """The normality branch: prototypes of normal snippets, and features rebuilt from them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.video_prototypes = nn.Parameter(torch.randn(N_PROTOTYPES, dim))
        self.dnp_extractor = nn.ModuleList([PrototypeBlock(dim, decodes=False)])
        self.bottleneck = QuickMLP(dim)
        self.decoder = nn.ModuleList(PrototypeBlock(dim, decodes=True) for _ in range(N_DECODERS))
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.01)

    def forward(self, features: Tensor, normal: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [rows, snippets, dim] rebuilt, and the distance of normal snippets from
        their nearest prototypes, a scalar.

        normal [rows, n, dim] are snippets of low score, of which `kept`, bool [rows, n], count.
        """
        prototypes = self.video_prototypes.expand(len(features), -1, -1)
        for block in self.dnp_extractor:
            prototypes = block(prototypes, normal, kept)
        far = 1 - normalize(normal, dim=-1) @ normalize(prototypes, dim=-1).transpose(1, 2)
        rebuilt = self.bottleneck(features)
        for block in self.decoder:
            rebuilt = block(rebuilt, prototypes)
        return rebuilt, far.amin(2)[kept].mean()


class DSANet(ClassDetector):
    """The published network. The class shares take the normal class from the first branch."""

    settings: DSANetSettings
    reads_projection = False  # an adapter takes its place

    def __init__(self, visual_dim: int, text_dim: int | None, settings: DSANetSettings) -> None:
        super().__init__(visual_dim, text_dim, settings)
        if settings.text_width:
            self.clip_adapter = TextAdapter(
                settings.text_width, visual_dim, settings.adapted, settings.share
            )
        self.video_anomaly_refiner = Refiner(visual_dim)

    def read_names(self, tower: TextTower) -> Tensor:
        """Return the class vectors [classes, dim], of length 1; gradients reach the adapters."""
        ends = torch.tensor(self.n_words, device=self.tokens.device) + 1
        vectors = tower.tokens_to_vectors(self.tokens)
        read = tower.encode(vectors, ends, self.clip_adapter.adapt)
        return normalize(self.clip_adapter.text_adapter[-1](read), dim=-1)

    def read_out(self, parts: Mapping[str, Tensor], n: int) -> tuple[Tensor, Tensor | None]:
        """Return the scores [videos, n] and the class shares [videos, n, classes].

        The first branch tells how much is abnormal, the class logits which of the classes it is;
        both are divided by the temperature.
        """
        logits, t = parts["logits"][:, :, :n], self.settings.temperature
        scores = torch.sigmoid(logits).mean(1)
        if "class_logits" not in parts:
            return scores, None
        abnormal = torch.sigmoid(logits / t)[..., None]
        kinds = (parts["class_logits"][:, :, :n] / t)[..., 1:].softmax(-1)
        return scores, torch.cat([1 - abnormal, abnormal * kinds], -1).mean(1)

    def class_terms(self, output: Output, labels: Tensor, members: Tensor, form: Form) -> Terms:
        """Return the terms of both branches and of the three parts; every term is a scalar.

        In the form "published" the weights by score and the choice of normal snippets count
        padding; in the form "paper" they leave it out.
        """
        parts = output.parts
        features, logits = parts["features"].flatten(0, 1), parts["logits"].flatten(0, 1)
        lengths = self._rows(output, output.lengths)
        valid = valid_snippets(lengths, logits.shape[1])
        counted = torch.ones_like(valid) if form == "published" else valid
        scores = torch.sigmoid(logits)
        found: dict[str, Tensor | None] = self.branch_terms(output, labels, members)
        if "text" in parts:
            members = self._rows(output, members)
            event, background = self.vector_logits(features, scores, counted, parts["text"])
            found["event"] = class_entropy(event, members, SMOOTH)
            is_normal = torch.full_like(members, ELSEWHERE)
            is_normal[:, 0] = 1
            found["background"] = class_entropy(background, is_normal, SMOOTH)
        rebuilt, gather = self.rebuild(features, scores, counted)
        unlike = (1 - cosine_similarity(features, rebuilt, dim=-1)) / 2
        found["consistency"] = (scores - unlike)[valid].square().mean()
        found["gather"] = gather
        return weighted(found, {"contrast": self.settings.contrast})

    def vector_logits(
        self, features: Tensor, scores: Tensor, counted: Tensor, text: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the class logits [rows, classes] of what is abnormal in a row, and of what is
        normal: of the mean features, weighted by score, and by 1 - score.

        features are [rows, snippets, dim], scores and counted [rows, snippets], text
        [classes, dim].
        """
        found = []
        for values in (scores, 1 - scores):
            weights = ((SHARPNESS * values).exp() - 1) * counted
            vector = (normalize(weights, p=1, dim=1)[:, None] @ features)[:, 0]
            found.append(normalize(vector, dim=-1) @ normalize(text, dim=-1).T / CLASS_TEMPERATURE)
        return found[0], found[1]

    def rebuild(self, features: Tensor, scores: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [rows, snippets, dim] as prototypes of the row's snippets of lowest score
        rebuild them, and the distance of these from the prototypes, a scalar.

        scores and counted are [rows, snippets].
        """
        n_each = (counted.sum(1) * NORMAL_SHARE).long().clamp(min=1)
        n = int(n_each.max())
        order = scores.detach().masked_fill(~counted, math.inf).argsort(dim=1)[:, :n]
        normal = features.gather(1, order[..., None].expand(-1, -1, features.shape[-1]))
        kept = torch.arange(n, device=order.device) < n_each[:, None]
        rebuilt: tuple[Tensor, Tensor] = self.video_anomaly_refiner(features, normal, kept)
        return rebuilt
