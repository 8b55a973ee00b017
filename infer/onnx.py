"""Export networks as ONNX files. Each file is compared with PyTorch and deleted if they disagree.

The graph of a detector includes all steps of `Run.score`: feature scaling, the mean over crops, and
smoothing over neighbouring snippets. It takes any number of snippets.
"""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vad.errors import InternalError, UsageError
from vad.files import committed
from vad.stages.train.run import EDGE, Run, TrainedMember, smooth
from vad.version import VERSION

SCHEMA = "vad.onnx/1"  # schema of the metadata entry "vad" of a file
TOLERANCE = 1e-5  # largest difference of scores; for features, relative to the largest one
ANY = torch.export.Dim.DYNAMIC

Arrays = Mapping[str, NDArray[np.float32]]  # by input name


@dataclass(frozen=True, slots=True)
class Sample:
    """Real input for a network, and the output of PyTorch for it."""

    inputs: Arrays
    expected: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of an export: a file that was written and compared with PyTorch."""

    path: Path
    largest_difference: float  # between ONNX and PyTorch, over the samples
    n_samples: int


class MemberScorer(nn.Module):
    """A member with the behaviour of `TrainedMember.score`: its arrays in, snippet scores out."""

    def __init__(self, member: TrainedMember) -> None:
        super().__init__()
        self.card, self.detector, self.inputs = member.card, member.detector, member.inputs
        self.reach, self.rule = member.card.smoothing, member.card.smoothing_rule
        # Smoothing is a convolution; its kernel is the response to an impulse.
        impulse = np.eye(1, 4 * self.reach + 1, 2 * self.reach, dtype=np.float32)[0]
        kernel = smooth(impulse, self.reach)[self.reach : 3 * self.reach + 1]
        self.register_buffer("kernel", torch.from_numpy(kernel)[None, None])

    def forward(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """Return scores [snippets] for arrays [snippets, crops, dim] by name."""
        bags: dict[str, Tensor] = {
            stream.input: stream.of(arrays[stream.name]).transpose(0, 1)[None]
            for stream in self.card.streams
        }
        features, sentences = self.inputs(bags)
        return self._smoothed(self.detector(features, sentences).scores[None])[0, 0]

    def _smoothed(self, scores: Tensor) -> Tensor:
        """Return scores [1, 1, snippets], smoothed as by `vad.stages.train.run.smooth`."""
        if self.rule == "centred" or self.reach == 0:
            kernel = self.get_buffer("kernel")
            sums, counts = (
                F.conv1d(x, kernel, padding=kernel.shape[-1] // 2)
                for x in (scores, torch.ones_like(scores))
            )
            return sums / counts
        stride = 1 if self.rule == "slide" else self.reach
        means = F.avg_pool1d(F.pad(scores, (0, self.reach - 1)), self.reach, stride)
        return means.repeat_interleave(stride, -1)[..., : scores.shape[-1]]


class Scorer(nn.Module):
    """A network with the behaviour of `Run.score`: features of one video in, snippet scores out."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.members = [MemberScorer(member) for member in run.members]
        self.modules_ = nn.ModuleList(self.members)  # by which torch finds their weights
        self.names, self.calibration = list(run.names.values()), run.card.calibration

    def forward(self, *streams: Tensor) -> Tensor:
        """Return scores [snippets] for visual [snippets, crops, dim], text [snippets, 1, dim] and
        other arrays, in the order of `Run.names`.
        """
        arrays = dict(zip(self.names, streams, strict=True))
        total = sum(member.card.weight for member in self.members)
        weighted = [
            self._of(member, arrays) * (member.card.weight / total) for member in self.members
        ]
        mean = torch.stack(weighted).sum(0)
        if self.calibration is None:
            return mean
        return torch.sigmoid(self.calibration.slope * mean + self.calibration.offset)

    def _of(self, member: MemberScorer, arrays: Mapping[str, Tensor]) -> Tensor:
        scores: Tensor = member(arrays)
        if self.calibration is None:
            return scores
        inside = scores.clamp(EDGE, 1 - EDGE)
        return (torch.log(inside / (1 - inside)) - member.card.centre) / member.card.spread


def export_detector(run: Run, videos: Iterable[Arrays], path: Path) -> Exported:
    """Write the detector of a run as ONNX, and compare it with PyTorch on stored features.

    videos are float32 arrays [snippets, crops, dim] by kind of stream, for each video. Raises
    InternalError, and leaves no file, if ONNX and PyTorch disagree; raises UsageError if a package
    is missing.
    """
    samples = [Sample(video, run.score(**video)) for video in videos]
    return export(
        Scorer(run),
        samples,
        path,
        output="scores",
        is_dynamic=True,
        metadata={
            "run": run.name,
            "detector": run.card.detector,
            "threshold": run.threshold,
            "features": [asdict(stream) for stream in run.card.streams.values()],
        },
    )


def export(
    module: nn.Module,
    samples: Sequence[Sample],
    path: Path,
    *,
    output: str,
    is_dynamic: bool,
    metadata: Mapping[str, object],
) -> Exported:
    """Write a network as ONNX, and compare it with PyTorch on all samples.

    The samples have all inputs of the network, by name. With `is_dynamic`, the first axis of every
    input may have any length. Raises the errors of `export_detector`.
    """
    check_packages()
    longest = max(samples, key=lambda sample: len(sample.expected))
    names = list(longest.inputs)
    program = _translate(module, longest, names, output, is_dynamic)
    program.model.metadata_props["vad"] = json.dumps(
        {"schema": SCHEMA, "generator": f"vad {VERSION}", **metadata}, allow_nan=False
    )
    with committed(path) as part:
        program.save(str(part))
        difference = _largest_difference(part, samples)
        largest = max(float(np.abs(sample.expected).max()) for sample in samples)
        if not difference <= TOLERANCE * max(1.0, largest):
            raise InternalError(
                f"ONNX and PyTorch differ by {difference:.2g} on real input: no {path.name} left",
                hint="another version of torch or onnxruntime may agree",
            )
    return Exported(path, difference, len(samples))


def check_packages() -> None:
    """Raise UsageError if a package that writes or runs ONNX is missing."""
    try:
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise UsageError(
            f"ONNX needs the package {error.name}", hint="pip install 'wsvad[onnx]'"
        ) from None
    del onnxruntime, onnxscript


def _translate(
    module: nn.Module, sample: Sample, names: list[str], output: str, is_dynamic: bool
) -> torch.onnx.ONNXProgram:
    module = module.eval().to("cpu")
    inputs = tuple(torch.from_numpy(sample.inputs[name]) for name in names)
    # The exporter prints to stdout and warns, whether it succeeds or not; the comparison decides.
    with (
        torch.no_grad(),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(sys.stderr),
    ):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            verbose=False,
            dynamic_shapes=(tuple({0: ANY} for _ in names),) if is_dynamic else None,
            input_names=names,
            output_names=[output],
            external_data=False,
        )
    if program is None:
        raise InternalError("torch.onnx.export gave no program")
    return program


def _largest_difference(path: Path, samples: Sequence[Sample]) -> float:
    from onnxruntime import InferenceSession

    session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
    differences = []
    for sample in samples:
        (found,) = session.run(None, dict(sample.inputs))
        if found.shape != sample.expected.shape:
            raise InternalError(f"ONNX gives {found.shape}, PyTorch {sample.expected.shape}")
        differences.append(float(np.abs(found - sample.expected).max()))
    return max(differences)
