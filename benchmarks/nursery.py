"""A process that loads everything once, and starts an extraction for every line that it reads.

A line is a JSON object: `videos`, `store`, `sleep_s` (of the model, per clip) and `settings`. For
each line, the process forks, prints the id of the child, and later prints its exit status. So
extractions that are to be killed start at once. (The process itself must not open a store, because
zarr's threads do not survive a fork.)
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from null_model import null_backbone

from vad.stages.extract.plan import make_plan, run_plan
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import find_sources
from vad.store import FeatureStore


def main() -> None:
    for line in sys.stdin:
        task = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os._exit(extract(task))
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


def extract(task: dict[str, Any]) -> int:
    """Extract videos with the model that costs nothing; return the exit code."""
    settings = ExtractSettings(backbone="null", **task["settings"])
    backbone = null_backbone(task["sleep_s"])
    plan = make_plan(find_sources([task["videos"]]), task["store"], backbone, settings)
    store = FeatureStore.create(task["store"])
    return run_plan(plan, store, backbone, settings, quiet=True).exit_code


if __name__ == "__main__":
    main()
