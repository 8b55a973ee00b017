"""Captioners: models that write a sentence for every snippet.

    captioner = create_captioner("labels")
    captioner([window])  # uint8 [frames, height, width, 3], frames by captioner.offsets -> [str]

`table.py` lists the captioners. Each is one row there and one class, which is called as
`Class(card, *, window, device, precision, offline)`. `written.py` reads captions from files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vad.errors import UsageError
from vad.plugins import load_object

from .table import CAPTIONERS, CaptionerCard, find_captioner

if TYPE_CHECKING:
    import torch

    from .captioner import Captioner

__all__ = ["CAPTIONERS", "CaptionerCard", "create_captioner", "find_captioner"]


def create_captioner(
    name: str,
    *,
    window: int | None = None,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    offline: bool = False,
) -> Captioner:
    """Load a captioner for frames.

    window: frames that a caption describes, a multiple of 16. precision: fp32, bf16, fp16 or auto
    (half precision on a GPU). Raises UsageError if there is no such captioner, if it is a file, or
    if its model cannot be loaded.
    """
    card = find_captioner(name)
    if card.is_file:
        raise UsageError(f"{name} looks at no frames: it is a file")
    from vad.device import choose_device
    from vad.grid import CLIP_FRAMES

    if window is not None and (window < CLIP_FRAMES or window % CLIP_FRAMES):
        raise UsageError(f"a window of {window} frames is no multiple of {CLIP_FRAMES}")
    if isinstance(device, str):
        device = choose_device(device)
    captioner: Captioner = load_object(card.loader, __package__)(
        card, window=window, device=device, precision=precision, offline=offline
    )
    return captioner
