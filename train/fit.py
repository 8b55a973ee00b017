"""The training loop: epochs over bags, choice of the best epoch, and resuming after any epoch."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vad.checkpoints import read_safetensors
from vad.errors import UsageError
from vad.labels import Label
from vad.store import FeatureStore
from vad.terminal import Meter

from .bags import Bags, bags_in_memory, whole
from .callbacks import Told
from .detectors import Detector, find_row
from .history import History
from .run import Run, save_tensors, with_prefix
from .settings import TrainSettings
from .streams import Inputs

WARMUP = 0.5  # share of the epochs, from the first on, that cannot be chosen as the best
# seconds between two saves of the state: a killed training loses about this much work
SAVE_EVERY_S = 60.0
CHECKSUM = "sha256"  # tensor of a saved state with the checksum of all others


class Diverged(UsageError):
    """The scores or the loss of a detector have become NaN or infinite during training."""


@dataclass
class Fit:
    """The state of a training. It is saved whole in `state.safetensors`, so a training can be
    resumed.
    """

    detector: Detector
    optimizer: torch.optim.Adam
    epoch: int = 0  # number of finished epochs
    best_epoch: int = 0
    best: float = -math.inf  # quality of the best epoch; higher is better
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def begin(cls, detector: Detector, settings: TrainSettings) -> Fit:
        """Return the state before the first epoch."""
        adam = torch.optim.Adam(
            detector.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
        return cls(detector, adam)

    def save(self, path: Path) -> None:
        """Write the state to a safetensors file."""
        tensors = {f"detector.{n}": t for n, t in self.detector.state_dict().items()}
        tensors |= {f"best.{n}": t for n, t in self.best_weights.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{n}": t for n, t in moments.items()}
        tensors["epochs"] = torch.tensor([self.epoch, self.best_epoch])
        tensors["best"] = torch.tensor(self.best, dtype=torch.float64)
        tensors[CHECKSUM] = _checksum(tensors)
        save_tensors(path, tensors)

    def load(self, path: Path) -> None:
        """Restore the state from a file. Raises UsageError if the file is damaged, or is of another
        detector.
        """
        tensors = read_safetensors(path)
        noted = tensors.pop(CHECKSUM, torch.empty(0))
        if not torch.equal(noted, _checksum(tensors)):
            raise UsageError(f"{path} is not what was written")
        try:
            self.detector.load_state_dict(with_prefix(tensors, "detector."))
        except RuntimeError:
            raise UsageError(f"{path} is of another detector") from None
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in with_prefix(tensors, "adam.").items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.best_weights = with_prefix(tensors, "best.")
        self.epoch, self.best_epoch = (int(n) for n in tensors["epochs"])
        self.best = tensors["best"].item()


def _checksum(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the SHA-256 of named tensors, uint8 [32]."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def fit(
    state: Fit,
    train: Bags,
    validation: Bags | None,
    inputs: Inputs,
    settings: TrainSettings,
    *,
    history: History,
    told: Told,
    state_path: Path,
    progress: Meter,
) -> None:
    """Train until `settings.epochs` epochs are finished, counting those in `state`.

    Every epoch is added to `history` and told to the callbacks. The state is saved about once a
    minute, and on Ctrl-C.
    """
    saved = time.monotonic()
    try:
        while state.epoch < settings.epochs:
            row = fit_epoch(state, train, validation, inputs, settings)
            history.add(row)
            told.epoch("", row)
            progress.advance()
            progress.note(f"loss {row['train/loss/total']:.4f}, best epoch {state.best_epoch}")
            if time.monotonic() - saved > SAVE_EVERY_S:
                state.save(state_path)
                saved = time.monotonic()
    except KeyboardInterrupt:
        state.save(state_path)
        raise


def fit_epoch(
    state: Fit, train: Bags, validation: Bags | None, inputs: Inputs, settings: TrainSettings
) -> dict[str, float]:
    """Train for one epoch, keep the weights if it is the best so far, and return its metrics.

    Each epoch has its own random seed, so a resumed training equals an uninterrupted one. The best
    epoch has the highest video AUC on the validation videos; of equal ones the latest is kept. The
    first half of the epochs is never chosen: on a few videos an untrained network can have a high
    AUC by chance. Without validation videos the last epoch is the best.
    """
    device = next(state.detector.parameters()).device
    row = _train_epoch(state, train, inputs, settings, device)
    figures = validate(state.detector, validation, inputs, settings, device)
    state.epoch += 1
    quality = figures[f"{settings.select}/video_auc"] if validation else float(state.epoch)
    if quality >= state.best and state.epoch > WARMUP * settings.epochs:
        state.best, state.best_epoch = quality, state.epoch
        weights = state.detector.state_dict()
        state.best_weights = {n: t.detach().clone() for n, t in weights.items()}
    return {"epoch": state.epoch, **row, **figures}


def _train_epoch(
    state: Fit, train: Bags, inputs: Inputs, settings: TrainSettings, device: torch.device
) -> dict[str, float]:
    """Train for one pass over the larger class, and return the mean of every loss term over its
    batches.
    """
    seed_random(settings.seed * 1_000_003 + state.epoch, device)
    random = np.random.default_rng((settings.seed, state.epoch))
    state.detector.train()
    sums: dict[str, float] = {}
    n_steps = 0
    for index in balanced_batches(train.labels, settings.batch, random):
        streams, lengths, labels = train.take(index, device, settings.crops, random)
        output = state.detector(*inputs(streams), lengths)
        _require_numbers(output.scores, settings)
        categories = class_members(train.categories[index], state.detector.classes)
        terms = state.detector.loss(output, labels, settings.form, categories)
        _require_numbers(terms["total"], settings)
        state.optimizer.zero_grad()
        terms["total"].backward()
        if settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(state.detector.parameters(), settings.clip)
        state.optimizer.step()
        n_steps += 1
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + term.item()
    return {f"train/loss/{name}": total / n_steps for name, total in sums.items()}


def balanced_batches(
    labels: NDArray[np.float32], batch: int, random: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield index arrays of batches with as many normal as abnormal videos, the normal ones first.

    labels [videos] are 0 or 1; an index array has 2 * `batch` entries, or fewer if a class is
    small. Every video of the larger class comes once per epoch, or a few of them twice in the last
    batch. Those of the smaller class are repeated, each time in a new random order.
    """
    classes = [np.flatnonzero(labels == value) for value in (0, 1)]
    size = min(batch, *map(len, classes))
    n_batches = -(-max(map(len, classes)) // size)
    dealt = []
    for members in classes:
        rounds = -(-n_batches * size // len(members))
        dealt.append(np.concatenate([random.permutation(members) for _ in range(rounds)]))
    for start in range(0, n_batches * size, size):
        yield np.concatenate([deal[start : start + size] for deal in dealt])


def class_members(
    categories: NDArray[np.str_] | Sequence[str], classes: Sequence[str]
) -> Tensor | None:
    """Return 1 for the classes of each video, float [videos, classes]; None without classes.

    A category is the name of a class, or of several joined by `+`. A video whose category is no
    class has a row of zeros.
    """
    if not classes:
        return None
    named = [str(category).split("+") for category in categories]
    return torch.tensor([[float(name in own) for name in classes] for own in named])


def mixed(labels: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return an order of videos in which every stretch has about the same share of abnormal videos.

    Loss terms compare the classes within a batch, and labels [videos] are often sorted by class.
    """
    place = np.zeros(len(labels))
    for value in (0, 1):
        members = np.flatnonzero(labels == value)
        place[members] = (np.arange(len(members)) + 0.5) / max(1, len(members))
    return np.argsort(place, kind="stable")


@torch.inference_mode()
def validate(
    detector: Detector,
    bags: Bags | None,
    inputs: Inputs,
    settings: TrainSettings,
    device: torch.device,
) -> dict[str, float]:
    """Return loss and video-level AUC over validation bags, or an empty dict if `bags` is None.

    The score of a video is the highest score of its segments.
    """
    if bags is None:
        return {}
    from sklearn.metrics import roc_auc_score  # takes seconds to load

    detector.eval()
    losses, peaks = [], []
    order = mixed(bags.labels)
    for start in range(0, len(bags), settings.batch):
        index = order[start : start + settings.batch]
        streams, lengths, labels = bags.take(index, device)
        output = detector(*inputs(streams), lengths)
        _require_numbers(output.scores, settings)
        categories = class_members(bags.categories[index], detector.classes)
        terms = detector.loss(output, labels, "paper", categories)
        _require_numbers(terms["total"], settings)
        losses += [terms["total"].item()] * len(index)
        peaks.append(output.scores.amax(1).cpu().numpy())
    auc = roc_auc_score(bags.labels[order], np.concatenate(peaks))
    names = (f"{settings.select}/loss", f"{settings.select}/video_auc")
    return dict(zip(names, (float(np.mean(losses)), float(auc)), strict=True))


@torch.inference_mode()
def heldout_loss(run: Run, store: FeatureStore, labels: Sequence[Label]) -> float | None:
    """Return the mean loss over videos, in the paper's form, computed as for validation videos.

    One batch of bags is in memory at a time. Returns None for imported weights, whose training
    settings are not known, for a run of several or of calibrated members, and if the loss is not
    finite.
    """
    settings = run.card.training
    if settings is None or run.card.calibration is not None or len(run.members) > 1:
        return None
    member = run.only
    order = mixed(np.array([label.label for label in labels]))
    device = next(member.detector.parameters()).device
    losses = []
    for start in range(0, len(order), settings.batch):
        part = whole(labels[i] for i in order[start : start + settings.batch])
        stretch = settings.form == "published" and not find_row(member.card.detector).pads
        bags = bags_in_memory(store, run.names, part, settings.segments, stretch=stretch)
        streams, lengths, is_abnormal = bags.take(np.arange(len(part)), device)
        output = member.detector(*member.inputs(streams), lengths)
        categories = class_members(bags.categories, member.detector.classes)
        terms = member.detector.loss(output, is_abnormal, "paper", categories)
        losses += [terms["total"].item()] * len(part)
    loss = float(np.mean(losses))
    return loss if math.isfinite(loss) else None


def seed_random(seed: int, device: torch.device) -> None:
    """Seed the random numbers of the CPU and of `device`.

    `torch.manual_seed` gives the same numbers, but without a GPU it formats and keeps the stack of
    every call, once for each kind of GPU: a third of the time of an epoch over a few videos.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)


def _require_numbers(values: Tensor, settings: TrainSettings) -> None:
    if not torch.isfinite(values).all():
        raise Diverged(
            f"training diverged: at learning rate {settings.lr:g} scores or losses are no numbers "
            "any more",
            hint="a smaller --lr or margin, or --clip 1",
        )
