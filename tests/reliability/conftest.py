"""Fixtures of the reliability checks; each check is numbered as in docs/reliability.md."""

import sys

import numpy as np
import pytest

from vad.pipelines.cli import main
from vad.store import FeatureStore, VideoRecord


@pytest.fixture
def vad(monkeypatch, capsys):
    """Run a command in this process: exit code, stdout, stderr."""

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["vad", *map(str, args)])
        with pytest.raises(SystemExit) as done:
            main()
        out, err = capsys.readouterr()
        return done.value.code or 0, out, err

    return run


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
        draft.commit(record, np.arange(40) / 25, {name: {"backbone": made_by}})
        return rows

    return store_video
