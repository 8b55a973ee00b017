"""Check 17: whatever is done to a store in whatever order, it says what a dictionary would say."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from vad.errors import VideoError
from vad.store import FeatureStore, Provenance, VideoRecord
from vad.store.verify import verify

IDS = st.sampled_from(["a", "b/a", "zarr.json", ".hidden", "ä", "x" * 250])
NAMES = st.sampled_from(["visual/i3d", "text/simcse"])
CONTENTS = st.sampled_from(["old", "new"])


class Crash(BaseException):
    """The process is gone at this point: nothing of it runs any more."""


class Store(RuleBasedStateMachine):
    """The store beside a dictionary: (content, arrays) by video."""

    @initialize()
    def make(self):
        self.folder = Path(tempfile.mkdtemp())
        self.store = FeatureStore.create(self.folder / "f.zarr")
        self.model = {}

    def teardown(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, video, name, content, seed):
        rows = np.random.default_rng(seed).random((2, 1, 3)).astype(np.float32)
        record = VideoRecord(
            **{"source": "s", "source_bytes": 1, "source_mtime_ns": 1, "source_sha256": content},
            **{"n_frames": 20, "fps": 25.0, "duration_s": 0.8, "width": 8, "height": 8},
            **{"container": "mov", "codec": "h264", "decoder": "pyav"},
            **{"n_frames_declared": None, "n_bad_packets": 0, "tail": "repeat-last"},
        )
        draft = self.store.draft(video)
        draft.append(name, rows)
        draft.commit(record, np.arange(20) / 25, {name: Provenance.of({"seed": 0})})
        return rows

    @rule(video=IDS, name=NAMES, content=CONTENTS, seed=st.integers(0, 9))
    def add(self, video, name, content, seed):
        rows = self.write(video, name, content, seed)
        before, arrays = self.model.get(video, (content, {}))
        self.model[video] = (content, {**(arrays if before == content else {}), name: rows})

    @rule(video=IDS)
    def fail(self, video):
        draft = self.store.draft(video)
        draft.append("visual/i3d", np.zeros((1, 1, 3), np.float32))
        with pytest.raises(VideoError):
            draft.append("visual/i3d", np.full((1, 1, 3), np.nan, np.float32))
        draft.discard()

    @rule(video=IDS, name=NAMES, content=CONTENTS, seed=st.integers(0, 9), step=st.integers(0, 9))
    def crash(self, video, name, content, seed, step):
        """Die before the step-th rename or removal of a commit, or while rows are written."""
        left = [step]

        def counted(original):
            def call(*args, **kwargs):
                if left[0] == 0:
                    raise Crash
                left[0] -= 1
                return original(*args, **kwargs)

            return call

        patch = pytest.MonkeyPatch()
        patch.setattr(Path, "rename", counted(Path.rename))
        patch.setattr(Path, "mkdir", counted(Path.mkdir))
        patch.setattr(Path, "write_text", counted(Path.write_text))
        patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
        before = self.model.get(video)
        try:
            rows = self.write(video, name, content, seed)
        except Crash:
            patch.undo()
            self.check_whole(video, name, content, seed, before)
        else:
            patch.undo()
            kept = before[1] if before and before[0] == content else {}
            self.model[video] = (content, {**kept, name: rows})

    def check_whole(self, video, name, content, seed, before):
        """After a crash: the old video, the new one, or none while it was being replaced."""
        rows = np.random.default_rng(seed).random((2, 1, 3)).astype(np.float32)
        if video not in self.store:
            assert before is None or before[0] != content  # only a replaced video may be missing
            self.model.pop(video, None)
            return
        found = self.store.record(video).source_sha256
        arrays = dict(before[1]) if before and before[0] == found else {}
        for array in {*arrays, *self.store.names(video)} - {name}:
            assert array in arrays
        if name in self.store.names(video):
            stored = self.store.read(video, name)
            assert any(np.array_equal(stored, r) for r in (rows, arrays.get(name)) if r is not None)
            arrays[name] = stored
        else:
            arrays.pop(name, None)
        if arrays:
            self.model[video] = (found, arrays)
        else:
            self.store.remove(video)  # a video whose only array was being replaced
            self.model.pop(video, None)

    @rule(video=IDS)
    def remove(self, video):
        if video in self.model:
            self.store.remove(video)
            del self.model[video]

    @rule()
    def reopen(self):
        self.store = FeatureStore.open(self.folder / "f.zarr")
        self.store.sweep()

    @invariant()
    def says_what_the_dictionary_says(self):
        assert self.store.ids() == sorted(self.model)
        for video, (content, arrays) in self.model.items():
            assert self.store.record(video).source_sha256 == content
            assert self.store.names(video) == sorted(arrays)
            for name, rows in arrays.items():
                assert np.array_equal(self.store.read(video, name), rows)

    @rule()
    def verified(self):
        assert verify(self.store.path, quiet=True).faults == []


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


def test_check_17_a_store_behaves_as_a_dictionary():
    machine = Store.TestCase
    machine.settings = settings(max_examples=8, stateful_step_count=20, derandomize=True, **QUIET)
    machine("runTest").runTest()


@pytest.mark.slow
def test_check_17_a_store_behaves_as_a_dictionary_200_times():
    machine = Store.TestCase
    machine.settings = settings(max_examples=200, stateful_step_count=30, **QUIET)
    machine("runTest").runTest()
