"""What an interrupted cross-fitting has finished, so that `--resume` goes on with it.

    RUN/unfinished/
      plan.json                 a checksum of all that the scores depend on
      topk%3AA-0.safetensors    the scores of the videos of one fold, by one member

The folder is deleted when the run is saved.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from vad.checkpoints import read_safetensors
from vad.documents import read_json
from vad.errors import UsageError
from vad.files import write_json
from vad.names import key_of

from .calibration import Scores
from .run import UNFINISHED, save_tensors

log = logging.getLogger("vad")


@dataclass(frozen=True)
class Unfinished:
    """The folder of the finished parts of a cross-fitting."""

    folder: Path

    @classmethod
    def begin(cls, run: Path, decides: str, *, resume: bool) -> Unfinished:
        """Open the folder of an interrupted training with `resume`, or else begin a new one.

        decides: a checksum of what the scores depend on. Raises UsageError if the interrupted
        training differs in it.
        """
        folder = run / UNFINISHED
        plan = folder / "plan.json"
        if resume and plan.exists():
            if read_json(plan) != {"decides": decides}:
                raise UsageError(
                    f"{run} was begun with other videos, features or settings",
                    hint="use the same, or train anew without --resume",
                )
            log.info("going on with %d finished fits", len(list(folder.glob("*.safetensors"))))
            return cls(folder)
        if resume:
            log.info("%s holds no run to go on with: training begins anew", run)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(plan, {"decides": decides})
        return cls(folder)

    def read(self, part: str) -> Scores | None:
        """Return the scores of a finished part by video, or None if it is not there or damaged."""
        try:
            tensors = read_safetensors(self._path(part))
        except UsageError:
            return None
        return {video: scores.numpy() for video, scores in tensors.items()}

    def keep(self, part: str, scores: Scores) -> None:
        """Write the scores of a part that is finished."""
        tensors = {video: torch.from_numpy(values) for video, values in scores.items()}
        save_tensors(self._path(part), tensors)

    def remove(self) -> None:
        """Delete the folder, when the run is saved."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, part: str) -> Path:
        return self.folder / f"{key_of(part)}.safetensors"
