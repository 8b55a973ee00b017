"""Feature store and labels to a detector: bags, detectors, losses, fitting and metrics.

Calling the package runs the stage: `vad.train("features.zarr", "labels.csv", "runs/rtfm")`; see
`vad.train.run.train`.
"""

from vad.stages import runs_as

runs_as(__name__, "train")
