"""Raw video to feature store: decoding, clips, crops and backbones.

Calling the package runs the stage: `vad.extract("videos/", "features.zarr", backbone="i3d")`;
see `vad.extract.run.extract`.
"""

from vad.stages import runs_as

runs_as(__name__, "extract")
