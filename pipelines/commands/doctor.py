"""`vad doctor`: check whether everything works on this machine."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vad.stages.extract.settings import ExtractSettings

if TYPE_CHECKING:
    from vad.stages.extract.decoders import DecoderName

LIBRARIES = (
    *("torch", "torchvision", "openvino", "pytorchvideo", "decord", "av", "transformers", "zarr"),
)
DEFAULT = ExtractSettings.backbone
CHECKS: dict[str, Callable[[], str]] = {}  # filled below, in the order they run


def command() -> None:
    """Check this machine: libraries, device, decoders, one forward pass.

    Examples:

    vad doctor

    vad --debug doctor
    """
    n_failed = 0
    for name, check in CHECKS.items():
        try:
            typer.echo(f"ok    {name}: {check()}")
        except PackageNotFoundError:
            n_failed += 1
            typer.echo(f"FAIL  {name}: not installed; pip install {name}")
        except Exception as error:  # any error means that the check failed
            n_failed += 1
            typer.echo(f"FAIL  {name}: {type(error).__name__}: {error}")
    if foreign := _foreign_version():
        typer.echo(
            f"warn  the package vad {foreign} is installed too: another project, whose module has "
            "the same name; pip uninstall vad, then pip install --force-reinstall --no-deps wsvad"
        )
    if n_failed:
        typer.echo(f"{n_failed} of {len(CHECKS)} checks failed")
        raise typer.Exit(1)
    typer.echo("everything works")


def _foreign_version() -> str | None:
    """Return the version of another package named `vad`, if installed; ours is named `wsvad`."""
    try:
        return version("vad")
    except PackageNotFoundError:
        return None


def _device() -> str:
    from vad.device import choose_device

    device = choose_device("auto")
    return f"{device}, {os.cpu_count()} cores"


def _temporary_folder() -> str:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "probe").write_bytes(b"x")
        return f"{Path(folder).parent} can be written"


def _decode(decoder: DecoderName) -> str:
    import av
    import numpy as np

    from vad.stages.extract.decoders.pool import Clips, DecoderPool, Failed

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "probe.mp4")
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for shade in range(0, 160, 10):
                image = np.full((48, 64, 3), shade, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
            container.mux(stream.encode())
        n_clips = 0
        with DecoderPool(1, clips_per_block=1, tail="drop", decoder=decoder) as pool:
            for event in pool.decode([path]):
                if isinstance(event, Failed):
                    raise event.error
                n_clips += isinstance(event, Clips)
    return f"{n_clips} clip of 16 frames"


def _forward(backbone: str, weights: str | None, crops: str | None) -> str:
    import numpy as np

    from vad.stages.extract.backbones import create_backbone

    made = create_backbone(backbone, weights=weights, crops=crops)
    features = made(np.zeros((1, 16, 64, 64, 3), np.uint8))
    return f"features {list(features.shape)}"


CHECKS |= {
    "python": platform.python_version,
    **{name: partial(version, name) for name in LIBRARIES},
    "device": _device,
    "temporary files": _temporary_folder,
    "decode with PyAV": lambda: _decode("pyav"),
    "decode with decord": lambda: _decode("decord"),
    f"{DEFAULT}, the default backbone": lambda: _forward(DEFAULT, None, None),
    "i3d (random weights)": lambda: _forward("i3d", "random:0", "center"),
}
