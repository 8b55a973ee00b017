"""A run folder: what `vad train` leaves and everything later reads.

    runs/rtfm/
      detector.safetensors   weights of the chosen epoch, and the scaling of its input
      card.json              settings, data, provenance of the features, metrics, threshold
      history.csv            one row an epoch; the same curves for TensorBoard in tensorboard/

No pickles: safetensors holds tensors, the card is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vad.device import choose_device
from vad.errors import UsageError
from vad.files import committed

from .detectors import Detector, create_detector
from .scaling import Scaling

SCHEMA = "vad.run/1"
WEIGHTS, CARD = "detector.safetensors", "card.json"
LONG_SNIPPETS = 1024  # longer videos are scored a crop at a time: attention grows with the square


class Run:
    """A trained detector with its card, ready to score. Use `open`."""

    def __init__(
        self, path: Path, card: dict[str, Any], detector: Detector, scaling: Scaling
    ) -> None:
        self.path, self.card, self.detector, self.scaling = path, card, detector.eval(), scaling

    @classmethod
    def open(cls, path: str | Path, device: str = "cpu") -> Run:
        """Load a run folder; UsageError if it is none, or its weights do not fit its card."""
        path = Path(path)
        card = read_card(path)
        made = card["detector"]
        detector = create_detector(
            made["name"],
            visual_dim=made["visual_dim"],
            text_dim=made["text_dim"],
            settings=made["settings"],
        )
        tensors = load_tensors(path / WEIGHTS)
        try:
            detector.load_state_dict(with_prefix(tensors, "detector."))
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"{path / WEIGHTS} does not fit {path / CARD}: {reason}") from None
        chosen = choose_device(device)
        scaling = Scaling.from_tensors(with_prefix(tensors, "scaling."))
        return cls(path, card, detector.to(chosen), scaling.to(chosen))

    @property
    def name(self) -> str:
        """What results call it: the name of its folder."""
        return self.path.resolve().name

    @property
    def threshold(self) -> float:
        """The score from which a frame is flagged, chosen on the validation videos."""
        return float(self.card["threshold"])

    @torch.inference_mode()
    def score(self, visual: NDArray[Any]) -> NDArray[np.float32]:
        """Snippet scores of one video.

        visual [snippets, crops, dim] as stored -> [snippets] in [0, 1], the mean over crops and
        over the neighbours that the run's `smoothing` says
        """
        device = next(self.detector.parameters()).device
        bag = torch.from_numpy(visual.astype(np.float32)).to(device).transpose(0, 1)[None]
        bag = self.scaling(bag)
        parts = bag.split(1, dim=1) if bag.shape[2] > LONG_SNIPPETS else (bag,)
        scores = torch.stack([self.detector(part).scores[0] for part in parts]).mean(0)
        return smooth(scores.float().cpu().numpy(), self.card["training"]["smoothing"])


def smooth(scores: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Mean of every score [snippets] and those within `reach` of it; fewer at the ends."""
    window = np.ones(2 * reach + 1)
    sums = np.convolve(scores, window)[reach : reach + len(scores)]
    counts = np.convolve(np.ones(len(scores)), window)[reach : reach + len(scores)]
    return np.asarray(sums / counts, np.float32)


def read_card(path: Path) -> dict[str, Any]:
    """The card of a run; UsageError if there is none, or one of another schema."""
    try:
        card: dict[str, Any] = json.loads((path / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{path} is no run: it has no {CARD}", hint="name a folder that vad train wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path / CARD} cannot be read: {error}") from None
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise UsageError(f"{path / CARD} is not of schema {SCHEMA}")
    return card


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; UsageError if it is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors whole or not at all."""
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    with committed(path) as part:
        save_file(plain, part)


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with a prefix, without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
