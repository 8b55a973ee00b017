"""Run networks on a CPU by OpenVINO; it takes about half the time of PyTorch.

A network is converted and compiled once for a processor and one input shape. The compiled network
is kept in the user's cache, as its next start then takes a second. A file of the cache is made
again if its checksum is wrong, or if the network, the processor, OpenVINO or this package is
another one. Where OpenVINO has no wheels or refuses a network, and if $VAD_ENGINE is "pytorch",
PyTorch runs it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from vad.files import cache_folder, committed, matches_checksum, note_checksum
from vad.version import VERSION

if TYPE_CHECKING:
    from openvino import CompiledModel

log = logging.getLogger("vad")


class Compiled(nn.Module):
    """A compiled network: it takes one tensor of the compiled shape, float32, and returns its
    outputs. Any number of threads may call it; each uses one core.
    """

    def __init__(self, model: CompiledModel, n_views: int) -> None:
        super().__init__()
        self._model, self._n_views = model, n_views
        # The binding of OpenVINO gets ready for NumPy when it first shows a tensor as an array. Two
        # threads that do so at the same moment wait for each other for ever, so it is done here.
        _ = model.create_infer_request().get_input_tensor().data
        self._lane = threading.local()  # each thread has its own inference request

    def forward(self, views: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Return the outputs for views [views, ...]: a tensor [views, ...], or a tuple of such.

        Fewer views than the network was compiled for are filled up, and more are computed in parts.
        """
        parts = [self._infer(part) for part in views.split(self._n_views)]
        outputs = tuple(torch.cat(part) for part in zip(*parts, strict=True))
        return outputs if len(outputs) > 1 else outputs[0]

    def _infer(self, views: torch.Tensor) -> list[torch.Tensor]:
        if not hasattr(self._lane, "request"):
            self._lane.request = self._model.create_infer_request()
        n = len(views)
        if n < self._n_views:
            views = torch.cat([views, views[:1].expand(self._n_views - n, *views.shape[1:])])
        outputs = self._lane.request.infer([views.contiguous().numpy()])
        return [torch.from_numpy(np.array(output[:n])) for output in outputs.values()]


def compiled(module: nn.Module, shape: Sequence[int], n_lanes: int) -> nn.Module:
    """Return the network compiled for input of one shape, or itself if that is not possible.

    shape: of the input, [views, ...]. n_lanes: threads that will call it at the same time.
    """
    if os.environ.get("VAD_ENGINE") == "pytorch":
        return module
    # With this module, OpenVINO reports each import and each network to Google Analytics.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: no import
    try:
        import openvino
    except ImportError:
        log.info("networks run by PyTorch: openvino, which is faster, is not installed")
        return module
    config = {
        "INFERENCE_PRECISION_HINT": "f32",  # else some processors compute in bf16
        "INFERENCE_NUM_THREADS": n_lanes,
        "NUM_STREAMS": n_lanes,
    }
    core = openvino.Core()
    processor = core.get_property("CPU", "FULL_DEVICE_NAME")
    versions = VERSION, openvino.__version__
    key = _key(module, shape, config, versions, processor, platform.machine())
    path = cache_folder() / "engine" / f"{key}.blob"
    try:
        if matches_checksum(path):
            return Compiled(core.import_model(path.read_bytes(), "CPU", config), shape[0])
        log.info("preparing the network for this processor: once, up to a minute")
        model = core.compile_model(_converted(module, shape), "CPU", config)
    except Exception as error:  # OpenVINO's errors have no base class of their own
        log.warning("openvino refuses the network, PyTorch runs it: %s", str(error).split("\n")[0])
        return module
    _keep(model, path)
    return Compiled(model, shape[0])


def _converted(module: nn.Module, shape: Sequence[int]) -> object:
    import openvino

    level = logging.root.level  # which the conversion sets, and so hides warnings of others
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # of sizes that become constants, as meant
            return openvino.convert_model(
                module,
                example_input=torch.zeros(1, *shape[1:]),
                input=[(openvino.Shape(list(shape)), openvino.Type.f32)],
            )
    finally:
        logging.root.setLevel(level)


def _keep(model: CompiledModel, path: Path) -> None:
    try:
        with committed(path) as part:
            part.write_bytes(model.export_model().getvalue())
        note_checksum(path)
    except OSError as error:
        log.info("the compiled network is not kept: %s", error)


def _key(module: nn.Module, shape: Sequence[int], *rest: object) -> str:
    """Return a checksum of everything that a compiled network depends on."""
    digest = hashlib.sha256(repr((type(module).__qualname__, tuple(shape), rest)).encode())
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
