"""The interface of all detectors: bags in, scores and named loss terms out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from vad.errors import UsageError

from .settings import Settings

Form = Literal["paper", "published"]
FORMS: tuple[str, ...] = get_args(Form)


@dataclass(frozen=True, slots=True)
class Output:
    """The output of a detector for a batch of videos. Values at padding are 0."""

    scores: Tensor  # [videos, snippets] in [0, 1], mean over crops
    magnitudes: Tensor  # [videos, snippets], mean over crops
    lengths: Tensor  # int64 [videos], snippets without padding
    # further tensors that the detector's loss needs
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    # shares of the detector's classes [videos, snippets, classes], which sum to 1; None if it has
    # none
    kinds: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of features with checked shapes, 0 at padding."""

    visual: Tensor  # [videos, crops, snippets, dim]
    text: Tensor | None  # [videos, snippets, text dim], shared by all crops
    lengths: Tensor  # int64 [videos]
    valid: Tensor | None  # bool [videos, snippets], false at padding; None if there is none

    def channels(self, features: Tensor) -> Tensor:
        """Reshape [videos, crops, snippets, dim] to [videos * crops, dim, snippets], for
        convolutions.
        """
        return features.flatten(0, 1).transpose(1, 2)

    def unflatten(self, rows: Tensor) -> Tensor:
        """Reshape [videos * crops, ...] to [videos, crops, ...]."""
        return rows.reshape(*self.visual.shape[:2], *rows.shape[1:])

    @property
    def mask(self) -> Tensor | None:
        """Return `valid` repeated for every crop, bool [videos * crops, snippets], or None."""
        return None if self.valid is None else self.valid.repeat_interleave(self.visual.shape[1], 0)

    def blank(self, values: Tensor) -> Tensor:
        """Return values [videos, snippets, ...] with 0 at padding."""
        if self.valid is None:
            return values
        return values * self.valid.view(*self.valid.shape, *[1] * (values.ndim - 2))


class Detector(nn.Module):
    """A network over bags of snippet features, with its loss.

    Subclasses implement `run` (the network) and `terms` (the loss); this class checks their inputs.
    """

    visual_dim: int
    text_dim: int | None
    settings: Settings
    # Batches that the released training code accepts: "halves" (the normal videos first, then as
    # many abnormal ones), "any", or None if no training code was released.
    published_batch: Literal["halves", "any"] | None = "halves"
    # True if the scores of all crops are those of each crop, joined; see `join_crops`
    joins_crops = True
    looks_around = True  # False if the score of a snippet depends on that snippet alone
    # names of the classes that it tells apart, the normal one first; () if it only finds anomalies
    classes: tuple[str, ...] = ()

    def __init__(self, visual_dim: int, text_dim: int | None, settings: Settings) -> None:
        super().__init__()
        self.visual_dim, self.text_dim, self.settings = visual_dim, text_dim, settings
        # widths of the arrays stored beside the weights, by name; see `hold`
        self._held: dict[str, int] = {}

    def forward(
        self, visual: Tensor, text: Tensor | None = None, lengths: Tensor | None = None
    ) -> Output:
        """Score bags.

        visual is [videos, crops, snippets, dim]; text is [videos, snippets, dim], for detectors
        that read text; lengths, int [videos], are the numbers of snippets without padding, which
        comes last. Raises UsageError if a shape does not fit the detector.
        """
        return self.run(self._checked(visual, text, lengths))

    def loss(
        self,
        output: Output,
        labels: Tensor,
        form: Form = "paper",
        categories: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return named loss terms and "total", their weighted sum.

        labels [videos] are 0 (normal) or 1, in any order; categories tell the classes of the
        videos to detectors that have `classes`, others ignore them. The form "paper" works for any
        batch; terms that need a missing class are left out. The form "published" computes exactly
        what the released code computes, and only takes batches that it accepts (see
        `published_batch`). Raises UsageError if form or labels do not fit.
        """
        return self.terms(output, self._checked_labels(output, labels, form), form)

    def finish(self) -> None:
        """Get ready to score, after training or after published weights were loaded."""

    def _checked_labels(self, output: Output, labels: Tensor, form: Form) -> Tensor:
        """Return labels as floats on the device of the scores. Raises UsageError like `loss`."""
        if form not in FORMS:
            raise UsageError(f"no loss form named {form!r}; there are: {', '.join(FORMS)}")
        n_videos = len(output.scores)
        labels = labels.to(output.scores)
        if labels.shape != (n_videos,) or not bool(((labels == 0) | (labels == 1)).all()):
            raise UsageError(
                f"labels are {n_videos} values of 0 or 1, one a video, got "
                f"{labels.tolist() if labels.numel() <= 8 else list(labels.shape)}"
            )
        if form == "published":
            self._check_published(labels)
        return labels

    def join_crops(self, outputs: Sequence[Output]) -> Tensor:
        """Return the scores [videos, snippets] of all crops, given the output for each crop alone.

        The result equals that of `forward` on all crops at once. Long videos are scored crop by
        crop to save memory.
        """
        return torch.stack([output.scores for output in outputs]).mean(0)

    def hold(self, name: str, array: ArrayLike | None, dim: int) -> None:
        """Store an array [rows, dim] beside the weights, as the buffer `name`.

        It is saved with the weights, and loaded with any number of rows. Published weights do not
        contain it; the present array then stays. Raises UsageError if the array has another shape.
        """
        values = None if array is None else torch.as_tensor(array, dtype=torch.float32)
        if values is not None and (values.ndim != 2 or values.shape[1] != dim):
            raise UsageError(f"{name} is an array [rows, {dim}], got {list(values.shape)}")
        self.register_buffer(name, values)
        self._held[name] = dim

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        device = next(self.parameters(), torch.empty(0)).device
        for name, dim in self._held.items():
            array = state_dict.setdefault(f"{prefix}{name}", getattr(self, name))
            if array is None:
                del state_dict[f"{prefix}{name}"]
            elif array.shape[1:] == (dim,):  # super() fills it below
                self.register_buffer(name, torch.empty_like(array, device=device))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _check_published(self, labels: Tensor) -> None:
        if self.published_batch is None:
            raise UsageError(
                f"the authors of {type(self).__name__} published no training code",
                hint="use form='paper'",
            )
        halves = torch.arange(len(labels), device=labels.device) >= len(labels) / 2
        fits = len(labels) % 2 == 0 and bool((labels == halves).all())
        if self.published_batch == "halves" and not fits:
            raise UsageError(
                "the published loss pairs the first half of a batch, all normal, with the second, "
                f"all abnormal; got {len(labels)} videos, {int(labels.sum())} of them abnormal",
                hint="order the batch so, or use form='paper', which takes any",
            )

    @abstractmethod
    def run(self, batch: Batch) -> Output:
        """Run the network on a checked batch."""

    @abstractmethod
    def terms(self, output: Output, labels: Tensor, form: Form) -> dict[str, Tensor]:
        """Return the loss terms for checked labels.

        labels is float [videos], on the device of the scores; every term is a scalar.
        """

    def _checked(self, visual: Tensor, text: Tensor | None, lengths: Tensor | None) -> Batch:
        if visual.ndim != 4 or visual.shape[-1] != self.visual_dim or 0 in visual.shape:
            raise UsageError(
                f"visual features are [videos, crops, snippets, {self.visual_dim}] and not empty, "
                f"got {list(visual.shape)}",
                hint="a detector reads the features it was made for",
            )
        videos, _, snippets, _ = visual.shape
        if self.text_dim is None:
            text = None  # the store may hold text that this detector does not read
        elif text is None or text.shape != (videos, snippets, self.text_dim):
            raise UsageError(
                f"this detector reads text features [{videos}, {snippets}, {self.text_dim}], "
                f"got {'none' if text is None else list(text.shape)}"
            )
        if lengths is None:
            return Batch(visual, text, torch.full((videos,), snippets, device=visual.device), None)
        lengths = lengths.to(visual.device, torch.int64)
        if lengths.shape != (videos,) or bool(((lengths < 1) | (lengths > snippets)).any()):
            raise UsageError(
                f"lengths are {videos} counts between 1 and {snippets}, got {lengths.tolist()}"
            )
        if bool((lengths == snippets).all()):
            return Batch(visual, text, lengths, None)
        valid = torch.arange(snippets, device=visual.device) < lengths[:, None]
        text = None if text is None else text * valid[..., None]
        return Batch(visual * valid[:, None, :, None], text, lengths, valid)
