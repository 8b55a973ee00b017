"""Networks as ONNX files. Every file is compared with PyTorch, and deleted where they disagree.

The graph of a detector does all that `Run.score` does: scaling, the mean over crops, the mean over
neighbouring snippets. It takes any number of snippets.
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
from vad.stages.train.run import Run, smooth
from vad.version import VERSION

SCHEMA = "vad.onnx/1"  # of the file's metadata entry "vad"
TOLERANCE = 1e-5  # of scores; of features, times the largest one
ANY = torch.export.Dim.DYNAMIC

Arrays = Mapping[str, NDArray[np.float32]]  # by the name of the input


@dataclass(frozen=True, slots=True)
class Sample:
    """Real input, and the output of PyTorch for it."""

    inputs: Arrays
    expected: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written and checked."""

    path: Path
    largest_difference: float  # between ONNX and PyTorch, on the samples
    n_samples: int


class Scorer(nn.Module):
    """`Run.score` as a network: streams of one video in, snippet scores out."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.detector, self.inputs = run.only.detector, run.only.inputs
        self.kinds = list(run.names)
        self.reach, self.rule = run.only.card.smoothing, run.only.card.smoothing_rule
        # A weighted mean over neighbours is a convolution; an impulse shows its kernel.
        impulse = np.eye(1, 4 * self.reach + 1, 2 * self.reach, dtype=np.float32)[0]
        kernel = smooth(impulse, self.reach)[self.reach : 3 * self.reach + 1]
        self.register_buffer("kernel", torch.from_numpy(kernel)[None, None])

    def forward(self, *streams: Tensor) -> Tensor:
        """visual [snippets, crops, dim], text [snippets, 1, dim] -> [snippets]."""
        bags = (stream.transpose(0, 1)[None] for stream in streams)
        features, sentences = self.inputs(dict(zip(self.kinds, bags, strict=True)))
        return self._smoothed(self.detector(features, sentences).scores[None])[0, 0]

    def _smoothed(self, scores: Tensor) -> Tensor:
        """`smooth` of scores [1, 1, snippets]."""
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


def export_detector(run: Run, videos: Iterable[Arrays], path: Path) -> Exported:
    """Write the detector of a run, and compare it with PyTorch on the stored streams of videos.

    videos: for each, float32 [snippets, crops, dim] by kind of stream. Raises InternalError, and
    leaves no file, where ONNX and PyTorch disagree; UsageError where the packages are missing.
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
            "features": [asdict(stream) for stream in run.only.card.streams],
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
    """Write a network whose inputs are those of the samples, and compare it on all of them.

    is_dynamic: the first axis of every input may have any length. Raises as `export_detector`.
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
    """Raise UsageError where a package that writes or runs ONNX is missing."""
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
    # The exporter prints progress on stdout and warns; the comparison below decides instead.
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
