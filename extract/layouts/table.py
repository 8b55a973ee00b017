"""Every layout there is. The order is that of recognition: the plainest names come last."""

from __future__ import annotations

from ..recipes import find_by_name
from .c3d_text import C3dText
from .crop_files import CropFiles
from .layout import Layout
from .plain import Numpy, Torch
from .rtfm import Rtfm
from .tevad_text import TevadText

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (Rtfm(), TevadText(), CropFiles(), Numpy(), Torch(), C3dText())
}


def find_layout(name: str) -> Layout:
    """The layout of that name; UsageError lists what there is and the nearest."""
    return find_by_name("layout", name, LAYOUTS)
