"""VadCLIP (Wu et al., AAAI 2024, arXiv 2308.11681), both branches.

The first branch scores snippets from features that a windowed transformer and two graph layers
over the whole video have mixed. The second compares the same features with vectors of the classes:
CLIP's frozen text tower reads each class name between learnt vectors. Scores, class logits and loss
equal those of github.com/nwpu-zxr/VadCLIP (f643c91) to 1e-4.

`ClassDetector` holds what DSANet shares.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize, pad

from vad.errors import UsageError

from ..blocks.clip import END, START, QuickMLP, ResidualBlock, TextTower, known_tokens, quick_gelu
from ..losses import Terms, video_bce, weighted
from ..selection import magnitude, top_k, valid_snippets
from .interface import Batch, Detector, Form, Output
from .settings import DSANetSettings, VadCLIPSettings

SIMILAR = 0.7  # cosine from which snippets are neighbours in the first graph
CLASS_TEMPERATURE = 0.07  # of the comparison with class vectors
AROUND = 10  # learnt vectors before and after the words of a class
TOWERS = ("clip_adapter.clipmodel.", "clipmodel.")  # where published files hold the whole CLIP


class GraphLayer(nn.Module):
    """A graph convolution over snippets: `A (x W)` and a residual."""

    def __init__(self, dim: int, width: int, *, first: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(dim, width)))
        self.residual = nn.Conv1d(dim, width, 5, padding=2) if first else None

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Return [rows, snippets, width] for x [rows, snippets, dim].

        adjacency is [rows or 1, snippets, snippets].
        """
        kept = x if self.residual is None else self.residual(x.transpose(1, 2)).transpose(1, 2)
        return quick_gelu(adjacency @ (x @ self.weight) + kept)


class Blocks(nn.Module):
    """A stack of transformer blocks, under CLIP's name `resblocks`."""

    def __init__(self, width: int, n: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualBlock(width) for _ in range(n))


class Distance(nn.Module):
    """The second graph, `exp(-|i - j| / e)`. `sigma` is unused, as in the released code."""

    def __init__(self) -> None:
        super().__init__()
        self.sigma = nn.Parameter(torch.full((1,), 0.1), requires_grad=False)

    def forward(self, length: int) -> Tensor:
        """Return the adjacency [1, length, length]."""
        at = torch.arange(length, device=self.sigma.device)
        return (-(at[:, None] - at).abs() / math.e).exp().to(self.sigma)[None]


class ClassDetector(Detector):
    """A detector with VadCLIP's visual path and a branch that compares snippets with class vectors.

    A video is read in chunks of `length` snippets that do not see one another; the last is filled
    with zeros. The vectors of the classes are learnt freely (`text_width` 0), computed by an
    attached text tower (in training), or kept from one in the buffer `class_vectors`. Without any,
    only the first branch runs. Each crop of a video is a sample.
    """

    settings: VadCLIPSettings | DSANetSettings
    class_vectors: Tensor | None
    tokens: Tensor  # of the class names, [classes, positions], once a tower is attached
    published_batch = "any"
    reads_projection = True  # class vectors are the tower's own sentence vectors

    def __init__(
        self, visual_dim: int, text_dim: int | None, settings: VadCLIPSettings | DSANetSettings
    ) -> None:
        super().__init__(visual_dim, text_dim, settings)
        self.classes = settings.class_names
        if len(self.classes) < 2 or not all(self.classes):
            raise UsageError(
                f"classes is {settings.classes!r}: the normal class and at least one other are "
                "needed",
                hint="separate names by commas",
            )
        half = max(1, visual_dim // 2)
        self.temporal = Blocks(visual_dim, settings.layers)
        self.gc1, self.gc3 = (GraphLayer(visual_dim, half, first=True) for _ in range(2))
        self.gc2, self.gc4 = (GraphLayer(half, half, first=False) for _ in range(2))
        self.disAdj = Distance()
        self.linear = nn.Linear(2 * half, visual_dim)
        self.mlp1, self.mlp2 = QuickMLP(visual_dim), QuickMLP(visual_dim)
        self.classifier = nn.Linear(visual_dim, 1)
        self.frame_position_embeddings = nn.Embedding(settings.length, visual_dim)
        nn.init.normal_(self.frame_position_embeddings.weight, std=0.01)
        self.tower: TextTower | None = None
        if settings.text_width:
            self.hold("class_vectors", None, visual_dim)
        else:
            self.class_vectors = nn.Parameter(torch.randn(len(self.classes), visual_dim))

    # --- words

    def attach(self, tower: TextTower, tokens: Sequence[Sequence[int]]) -> None:
        """Let a text tower read the class names, whose tokens are given without start and end.

        Raises UsageError if the tower's width is not that of the detector, or a name is too long.
        """
        if tower.width != self.settings.text_width:
            raise UsageError(
                f"the text tower has token vectors of {tower.width} values, these weights "
                f"{self.settings.text_width}",
                hint="give the CLIP that they were trained with",
            )
        longest = tower.context - 2 - 2 * AROUND
        for name, own in zip(self.classes, tokens, strict=True):
            if not 1 <= len(own) <= longest:
                raise UsageError(
                    f"the class {name[:40]!r} has {len(own)} tokens, 1 to {longest} fit",
                    hint="give it a short name",
                )
        rows = torch.zeros(len(tokens), tower.context, dtype=torch.int64)
        for row, own in zip(rows, tokens, strict=True):
            row[: len(own) + 2] = torch.tensor([START, *own, END])
        self.register_buffer("tokens", rows, persistent=False)
        self.n_words = [len(own) for own in tokens]
        self.tower = tower

    def finish(self) -> None:
        """Keep the class vectors that the text tower gives, and let go of the tower."""
        if self.tower is not None:
            with torch.no_grad():
                self.register_buffer("class_vectors", self.read_names(self.tower))
            self.tower = None

    def text(self) -> Tensor | None:
        """Return the class vectors [classes, dim], or None if there are none."""
        return self.class_vectors if self.tower is None else self.read_names(self.tower)

    @abstractmethod
    def read_names(self, tower: TextTower) -> Tensor:
        """Return the class vectors [classes, dim] that the tower gives for the class names."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Load weights; of a CLIP among them, as in published files, the text tower is attached."""
        found = {
            name.removeprefix(prefix + where): state_dict.pop(name)
            for where in TOWERS
            for name in [n for n in state_dict if n.startswith(prefix + where)]
        }
        if found:
            tokens = known_tokens(self.classes)
            if tokens is None:
                raise UsageError(
                    "the class names of published weights are those of UCF-Crime and XD-Violence",
                    hint="leave out --set classes",
                )
            self.attach(TextTower(found).to(self.classifier.weight.device), tokens)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    # --- network

    def run(self, batch: Batch) -> Output:
        """Compute features [videos, crops, snippets, dim], logits [videos, crops, snippets] and
        class logits [videos, crops, snippets, classes]; snippets are those of whole chunks.
        """
        videos, crops, n, _ = batch.visual.shape
        length = self.settings.length
        chunks = (n + length - 1) // length
        visual = pad(batch.visual, (0, 0, 0, chunks * length - n))
        starts = length * torch.arange(chunks, device=visual.device)
        lengths = (batch.lengths[:, None, None] - starts).clamp(0, length).expand(-1, crops, -1)
        features = self.encode(visual.reshape(-1, length, self.visual_dim), lengths.flatten())
        logits = self.classifier(features + self.mlp2(features))[..., 0]
        parts = {
            "features": features.view(videos, crops, chunks * length, -1),
            "logits": logits.view(videos, crops, chunks * length),
        }
        text = self.text()
        if text is not None:
            compared = self.compare(features, logits, text)
            parts["text"] = text
            parts["class_logits"] = compared.view(videos, crops, chunks * length, -1)
        scores, shares = self.read_out(parts, n)
        return Output(
            batch.blank(scores),
            batch.blank(magnitude(parts["features"][:, :, :n])),
            batch.lengths,
            parts,
            None if shares is None else batch.blank(shares),
        )

    @abstractmethod
    def read_out(self, parts: Mapping[str, Tensor], n: int) -> tuple[Tensor, Tensor | None]:
        """Return scores [videos, n] and class shares [videos, n, classes] of the first n snippets,
        means over crops; the shares are None without class logits.
        """

    def encode(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return the features V of the paper, [rows, length, dim], for x of the same shape.

        lengths [rows] are the snippets without padding. As in the released code, only the first
        graph leaves out padding.
        """
        rows, length, dim = x.shape
        x = x + self.frame_position_embeddings.weight
        window = min(self.settings.window, length)
        filled = pad(x, (0, 0, 0, -length % window))
        for block in self.temporal.resblocks:
            whole, rest = length // window * window, length % window
            seen = block(filled[:, :whole].reshape(-1, window, dim)).view(rows, whole, dim)
            tail = [block(filled[:, whole : whole + rest])] if rest else []
            filled = torch.cat([seen, *tail], 1)
        alike, near = self._alike(filled, lengths), self.disAdj(length)
        first = self.gc2(self.gc1(filled, alike), alike)
        second = self.gc4(self.gc3(filled, near), near)
        features: Tensor = self.linear(torch.cat([first, second], 2))
        return features

    def _alike(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return the first graph [rows, length, length]: the softmax over each row of the cosines
        above `SIMILAR`; others count as 0 and not as absent. Padding is left out.
        """
        norms = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        cosine = x @ x.transpose(1, 2) / (norms @ norms.transpose(1, 2) + 1e-20)
        valid = valid_snippets(lengths, x.shape[1])
        kept = torch.where(cosine > SIMILAR, cosine, 0.0).masked_fill(~valid[:, None], -1e9)
        return kept.softmax(-1) * (valid[:, None] & valid[..., None])

    def compare(self, features: Tensor, logits: Tensor, text: Tensor) -> Tensor:
        """Return class logits [rows, length, classes] of features [rows, length, dim].

        The class vectors [classes, dim] are first moved by the mean of the features, weighted by
        the logits [rows, length] of all positions, padding included.
        """
        context = normalize(logits[:, None] @ features, dim=-1)  # [rows, 1, dim]
        moved = text + context
        moved = moved + self.mlp1(moved)
        cosines = normalize(features, dim=-1) @ normalize(moved, dim=-1).transpose(1, 2)
        return cosines / CLASS_TEMPERATURE

    # --- loss

    def loss(
        self,
        output: Output,
        labels: Tensor,
        form: Form = "paper",
        categories: Tensor | None = None,
    ) -> Terms:
        """Return the terms of `Detector.loss`.

        categories [videos, classes] are 1 for the classes of a video; a row of zeros is a video
        whose class is not known. Without them, normal videos are of the first class, and abnormal
        ones of the second if there are only two. The form "published" takes no video of unknown
        class; in the form "paper" it may be of any class but the normal one. Raises UsageError if
        the categories do not fit.
        """
        labels = self._checked_labels(output, labels, form)
        return self.class_terms(output, labels, self._members(labels, categories, form), form)

    def terms(self, output: Output, labels: Tensor, form: Form) -> Terms:
        """Return the loss terms for labels [videos] without categories; see `loss`."""
        return self.class_terms(output, labels, self._members(labels, None, form), form)

    @abstractmethod
    def class_terms(self, output: Output, labels: Tensor, members: Tensor, form: Form) -> Terms:
        """Return the loss terms; labels [videos] and members [videos, classes] are checked."""

    def _members(self, labels: Tensor, categories: Tensor | None, form: Form) -> Tensor:
        """Return categories [videos, classes] that agree with the labels; see `loss`."""
        shape = (len(labels), len(self.classes))
        members = labels.new_zeros(shape) if categories is None else categories.to(labels).clone()
        if members.shape != shape:
            raise UsageError(
                f"categories are {shape[0]} rows of {shape[1]} classes, got {list(members.shape)}"
            )
        members[:, 0] = 1 - labels
        members[:, 1:] *= labels[:, None]
        if len(self.classes) == 2:
            members[:, 1] = labels
        if form == "published" and bool((members.sum(1) == 0).any()):
            raise UsageError(
                "the published loss needs the class of every abnormal video",
                hint="fill the column category of the labels, or use form='paper'",
            )
        return members

    def _rows(self, output: Output, values: Tensor) -> Tensor:
        """Repeat values [videos, ...] for every crop: [rows, ...]."""
        return values.repeat_interleave(output.parts["logits"].shape[1], 0)

    def branch_terms(
        self, output: Output, labels: Tensor, members: Tensor
    ) -> dict[str, Tensor | None]:
        """Return the terms of both branches, which DSANet shares; None without class vectors.

        labels is [videos], members [videos, classes].

        "classification" is of the mean of the `length // 16 + 1` highest scores; "contrast" is the
        cross-entropy of the same number of highest logits of every class; "distance" is the mean of
        the absolute cosines of the normal class vector and each other.
        """
        lengths, labels = self._rows(output, output.lengths), self._rows(output, labels)
        scores = torch.sigmoid(output.parts["logits"].flatten(0, 1))
        k = lengths // 16 + 1
        found = video_bce(top_k(scores, k, lengths).mean(scores), labels)
        if "text" not in output.parts:
            return {"classification": found, "contrast": None, "distance": None}
        text, members = output.parts["text"], self._rows(output, members)
        video_logits = top_class_means(output.parts["class_logits"].flatten(0, 1), k, lengths)
        distance = cosine_similarity(text[:1], text[1:]).abs().mean()
        contrast = class_entropy(video_logits, members)
        return {"classification": found, "contrast": contrast, "distance": distance}


def top_class_means(logits: Tensor, k: Tensor, lengths: Tensor) -> Tensor:
    """Return for every class the mean of its own k highest logits, [rows, classes].

    logits are [rows, snippets, classes]; k and lengths are [rows].
    """
    k = torch.minimum(k, lengths)
    valid = valid_snippets(lengths, logits.shape[1])
    top = logits.masked_fill(~valid[..., None], -math.inf).topk(int(k.max()), dim=1).values
    chosen = torch.arange(top.shape[1], device=top.device) < k[:, None]
    return top.masked_fill(~chosen[..., None], 0).sum(1) / k[:, None]


def class_entropy(logits: Tensor, members: Tensor, smooth: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of logits [rows, classes] and the classes of each row.

    members [rows, classes] hold weights of the classes of a row; a row of zeros, of unknown class,
    is taken as any class but the first. `smooth` is the share of the target that is spread evenly.
    """
    log_shares = logits.log_softmax(-1)
    known = members.sum(-1) > 0
    target = members / members.sum(-1, keepdim=True).clamp(min=1e-12)
    target = (1 - smooth) * target + smooth / members.shape[-1]
    named = -(target * log_shares).sum(-1)
    return torch.where(known, named, -log_shares[..., 1:].logsumexp(-1)).mean()


class VadCLIP(ClassDetector):
    """The published network. In front of and behind the words of a class stand learnt vectors."""

    settings: VadCLIPSettings

    def __init__(self, visual_dim: int, text_dim: int | None, settings: VadCLIPSettings) -> None:
        super().__init__(visual_dim, text_dim, settings)
        if settings.text_width:
            self.text_prompt_embeddings = nn.Embedding(77, settings.text_width)
            nn.init.normal_(self.text_prompt_embeddings.weight, std=0.01)

    def read_names(self, tower: TextTower) -> Tensor:
        """Return the class vectors [classes, dim]; gradients reach the learnt vectors.

        The sequence is: start token, 10 learnt vectors, words, 10 learnt vectors, end token, and
        learnt vectors to its end. A learnt vector has the index of its slot.
        """
        learnt = self.text_prompt_embeddings.weight
        sequences = []
        for own, n in zip(tower.tokens_to_vectors(self.tokens), self.n_words, strict=True):
            end = 1 + 2 * AROUND + n
            before, after = learnt[1 : 1 + AROUND], learnt[1 + AROUND + n : end]
            words = own[1 : 1 + n], own[1 + n : 2 + n]
            sequences.append(
                torch.cat([own[:1], before, words[0], after, words[1], learnt[end + 1 :]])
            )
        ends = torch.tensor(self.n_words, device=learnt.device) + 1 + 2 * AROUND
        return tower.project(tower.encode(torch.stack(sequences), ends))

    def read_out(self, parts: Mapping[str, Tensor], n: int) -> tuple[Tensor, Tensor | None]:
        """Return the scores [videos, n] and the shares of the classes [videos, n, classes]."""
        scores = torch.sigmoid(parts["logits"][:, :, :n]).mean(1)
        if "class_logits" not in parts:
            return scores, None
        shares = parts["class_logits"][:, :, :n].softmax(-1).mean(1)
        return (scores if self.settings.score == "detector" else 1 - shares[..., 0]), shares

    def class_terms(self, output: Output, labels: Tensor, members: Tensor, form: Form) -> Terms:
        """Return the terms of both branches, as scalars; members is [videos, classes]."""
        found = self.branch_terms(output, labels, members)
        return weighted(found, {"distance": self.settings.distance})
