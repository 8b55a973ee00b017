"""Fixtures of the reliability checks; each check is numbered as in docs/reliability.md."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from vad.stages.extract.plan import make_plan, run_plan
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import find_sources
from vad.store import FeatureStore, Provenance, VideoRecord


@pytest.fixture
def put():
    """Store a video of 40 frames: 3 snippets of numbers that `seed` determines."""

    def store_video(path, video_id="a", seed=0, name="visual/i3d", made_by="i3d", source="aa"):
        rows = np.random.default_rng(seed).random((3, 2, 4)).astype(np.float16)
        record = VideoRecord(
            **{"source": f"{video_id}.mp4", "source_bytes": 10, "source_mtime_ns": 1},
            **{"source_sha256": source, "n_frames": 40, "fps": 25.0, "duration_s": 1.6},
            **{"width": 64, "height": 48, "container": "mov", "codec": "h264"},
            **{"decoder": "pyav", "n_frames_declared": 40, "n_bad_packets": 0},
            tail="repeat-last",
        )
        draft = FeatureStore.create(path).draft(video_id)
        draft.append(name, rows)
        draft.commit(record, np.arange(40) / 25, {name: Provenance.of({"backbone": made_by})})
        return rows

    return store_video


BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def nursery(python):
    """Start extraction runs, with a model that costs nothing, in processes that may be killed.

    `nursery(videos, store, sleep_s=..., **settings)` gives the process id, and a function that
    waits for its end: 0, or the signal that killed it.
    """
    with python.start(BENCHMARKS / "nursery.py") as process:

        def start(videos, store, sleep_s=0.0, **settings):
            task = {"videos": str(videos), "store": str(store), "sleep_s": sleep_s}
            process.stdin.write(json.dumps({**task, "settings": settings}) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline()), lambda: int(process.stdout.readline())

        yield start
        process.stdin.close()


@pytest.fixture
def null_backbone():
    """The backbone of the benchmarks that costs nothing."""
    spec = importlib.util.spec_from_file_location("null_model", BENCHMARKS / "null_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.null_backbone()


@pytest.fixture
def extract_null(null_backbone):
    """Extract in this process with that backbone: the outcome of the run."""

    def extract(inputs, store, **settings):
        chosen = ExtractSettings(backbone="null", **settings)
        plan = make_plan(find_sources([inputs]), store, null_backbone, chosen)
        return run_plan(plan, FeatureStore.create(store), null_backbone, chosen, quiet=True)

    return extract


@pytest.fixture(scope="session")
def files_of():
    """Every file of the stored videos of a store, with its bytes."""

    def read(store):
        return {
            path.relative_to(store): path.read_bytes()
            for path in store.rglob("*")
            if path.is_file() and not path.relative_to(store).parts[0].startswith(".")
        }

    return read
