"""RTFM's layout, which MGFN, S3R, TEVAD and GlanceVAD share.

`<video>_i3d.npy`, float32 [snippets, 10, 2048] (TEVAD's XD-Violence: [snippets, 5, 1024]), a row
for every 16 frames. Lists name one file a line, abnormal videos first: in these projects the place
in the list is the label. Source: github.com/tianyu0207/RTFM, its list/ and dataset.py.
"""

from __future__ import annotations

from .layout import OneFile


class Rtfm(OneFile):
    name = "rtfm"
    says = "RTFM, MGFN, S3R, TEVAD: VIDEO_i3d.npy [snippets, crops, dim]"
    array = "i3d"
    endings = ("_i3d.npy",)
