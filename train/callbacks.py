"""Callbacks, which receive the progress of a training, and the loggers that are built on them.

class Printer(vad.Callback):
    def epoch(self, part, epoch, figures):
        print(part, epoch, figures["train/loss/total"])

vad.train("features.zarr", "labels.csv", callbacks=[Printer()], log_to=["tensorboard"])
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from vad.errors import UsageError
from vad.names import find_by_name

from .run import BOARD, Run


@dataclass(frozen=True)
class Training:
    """A training that begins."""

    out: Path  # the run's folder
    settings: Mapping[str, object]  # of the training and, if it has one detector, of that
    after_epoch: int = 0  # epochs that an interrupted training has done and this one continues


class Callback:
    """Receives calls during a training. Override those methods that you need.

    An exception that a method raises ends the training.
    """

    def start(self, training: Training) -> None:
        """Receive the training, when the input has been checked and the first epoch begins."""

    def epoch(self, part: str, epoch: int, figures: Mapping[str, float]) -> None:
        """Receive the figures of an epoch, which are numbered from 1.

        part: "" if the run has one detector; for a run of several members, which of their fits it
        is: "topk:A" on all videos, "topk:A/fold-0" without those of a fold. figures: the loss terms
        ("train/loss/total" and others) and, if videos are held out for validation, the figures of
        these ("validation/loss", "validation/video_auc").
        """

    def end(self, run: Run | None) -> None:
        """Receive the finished run, or None if the training failed or was interrupted."""


@dataclass
class Told:
    """The callbacks of a training that is under way. Its finished run is set by the training."""

    callbacks: Sequence[Callback] = ()
    run: Run | None = None

    def epoch(self, part: str, row: Mapping[str, float]) -> None:
        """Tell the callbacks the row of an epoch, which has its number as "epoch"."""
        figures = {name: value for name, value in row.items() if name != "epoch"}
        for callback in self.callbacks:
            callback.epoch(part, int(row["epoch"]), figures)


@contextmanager
def telling(callbacks: Sequence[Callback], training: Training) -> Iterator[Told]:
    """Tell callbacks the start of a training, and its end when the block is left."""
    told, begun = Told(callbacks), list[Callback]()
    try:
        for callback in callbacks:
            callback.start(training)
            begun.append(callback)
        yield told
    finally:
        for callback in begun:
            callback.end(told.run)


# --- loggers


class TensorBoard(Callback):
    """Writes the figures of every epoch into a folder of the run."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            # importing tensorboard raises warnings about its own code
            warnings.simplefilter("ignore")
            board = _import("torch.utils.tensorboard", "tensorboard", "'wsvad[tensorboard]'")
        self._writer = board.SummaryWriter

    def start(self, training: Training) -> None:
        # steps that an interrupted training logged after its last saved state are logged again
        first = training.after_epoch + 1 if training.after_epoch else None
        self._board = self._writer(str(training.out / BOARD), purge_step=first)

    def epoch(self, part: str, epoch: int, figures: Mapping[str, float]) -> None:
        for name, value in _under(part, figures).items():
            self._board.add_scalar(name, value, epoch)

    def end(self, run: Run | None) -> None:
        for name, value in _under("run", run.figures if run else {}).items():
            self._board.add_scalar(name, value, 0)
        self._board.close()


class WeightsAndBiases(Callback):
    """Logs to Weights & Biases, whose own environment variables say where: WANDB_MODE and others.

    The project is `vad`, unless WANDB_PROJECT names another.
    """

    def __init__(self) -> None:
        self._wandb = _import("wandb", "wandb", "wandb")

    def start(self, training: Training) -> None:
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "vad"),
            name=str(training.out),
            dir=str(training.out),
            config=dict(training.settings),
        )
        self._run.define_metric("*", step_metric="epoch")  # parts begin again at epoch 1

    def epoch(self, part: str, epoch: int, figures: Mapping[str, float]) -> None:
        self._run.log({"epoch": epoch, **_under(part, figures)})

    def end(self, run: Run | None) -> None:
        self._run.summary.update(_under("run", run.figures if run else {}))
        self._run.finish(exit_code=0 if run else 1)


class MLflow(Callback):
    """Logs to MLflow, whose own environment variables say where: MLFLOW_TRACKING_URI and others.

    The experiment is `vad`, unless MLFLOW_EXPERIMENT_NAME names another.
    """

    def __init__(self) -> None:
        self._mlflow = _import("mlflow", "mlflow", "mlflow")

    def start(self, training: Training) -> None:
        self._mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "vad"))
        self._mlflow.start_run(run_name=str(training.out), nested=True)
        self._mlflow.log_params(dict(training.settings))

    def epoch(self, part: str, epoch: int, figures: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(_under(part, figures), step=epoch)

    def end(self, run: Run | None) -> None:
        self._mlflow.log_metrics(_under("run", run.figures if run else {}))
        self._mlflow.end_run("FINISHED" if run else "FAILED")


LOGGERS: dict[str, type[Callback]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


def loggers(names: Iterable[str]) -> list[Callback]:
    """Return the loggers of these names.

    Raises UsageError if there is none of a name, or if the package that it needs is missing.
    """
    return [find_by_name("logger", name, LOGGERS)() for name in dict.fromkeys(names)]


def _import(module: str, package: str, install: str) -> Any:
    """Import the library of a logger. Raises UsageError if it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        raise UsageError(
            f"--log-to {package} needs the package {package}", hint=f"pip install {install}"
        ) from None


def _under(part: str, figures: Mapping[str, float]) -> dict[str, float]:
    """Return figures by names that begin with the part: "topk:A/train/loss/total"."""
    return {f"{part}/{name}" if part else name: value for name, value in figures.items()}
