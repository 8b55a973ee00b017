"""Extraction runs: what may differ between two runs without changing a feature."""

import itertools
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from vad import extract
from vad.errors import VideoError
from vad.grid import ClipGrid
from vad.stages.extract.backbones import create_backbone
from vad.stages.extract.backbones.backbone import Backbone
from vad.stages.extract.backbones.network import Network
from vad.stages.extract.decoders.pool import Clips, DecoderPool, Failed
from vad.stages.extract.features import FeatureMaker
from vad.stages.extract.pipeline import ClaimedVideo, Pipeline
from vad.stages.extract.recipes import RECIPES
from vad.stages.extract.records import FileState
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import find_sources
from vad.store import FeatureStore

ARRAY = "visual/efficientnet-lite0-parts"


def arrays(store):
    """Every array of a store, by video."""
    opened = FeatureStore.open(store)
    return {video: opened.read(video, ARRAY) for video in opened.ids()}


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for video, features in one.items():
        np.testing.assert_array_equal(features, other[video])


@pytest.fixture(scope="module")
def videos(write_video, tmp_path_factory):
    """Three videos of 2, 3 and 1 clips, of two sizes."""
    folder = tmp_path_factory.mktemp("videos")
    for name, n_frames, size in (("a", 20, (160, 96)), ("b", 48, (96, 160)), ("c", 15, (160, 96))):
        write_video(folder / f"{name}.mp4", n_frames, size=size)
    return folder


@pytest.fixture(scope="module")
def one(videos, tmp_path_factory):
    """The store of one run with one worker."""
    path = tmp_path_factory.mktemp("one") / "one.zarr"
    extract(videos, path, quiet=True, workers=1, dtype="float32")
    return FeatureStore.open(path)


def test_workers_order_and_company_do_not_change_a_bit(videos, one, tmp_path):
    a, b, c = sorted(videos.iterdir())
    for paths in ([b, c], [a]):
        extract(paths, tmp_path / "two.zarr", quiet=True, workers=3, dtype="float32")
    expected = arrays(one.path)
    assert {video: len(features) for video, features in expected.items()} == {
        "a": 2,
        "b": 3,
        "c": 1,
    }
    assert_same_bits(arrays(tmp_path / "two.zarr"), expected)
    two = FeatureStore.open(tmp_path / "two.zarr")
    for video in ("a", "b", "c"):  # as are their records, and the other arrays by their checksums
        assert one.record(video) == two.record(video)
        assert one.names(video) == two.names(video)
        for name in one.names(video):
            assert one.info(video, name) == two.info(video, name)


class Brightness(torch.nn.Module):
    """The brightest and the first number of a view; notes how many views came at once."""

    def __init__(self):
        super().__init__()
        self.n_views = []

    def forward(self, views):
        self.n_views.append(len(views))
        return torch.stack([views.amax((1, 2, 3, 4)), views[:, 0, 0, 0, 0]], 1)


def brightness(n_clips, module=None):
    """A backbone that computes so many clips at once, as on a GPU."""
    recipe = RECIPES["efficientnet-lite0"]
    network = Network(module or Brightness(), 2, recipe, {"name": "none"}, "none", 1, 1)
    return Backbone(
        "brightness",
        network,
        crops="center",
        device=torch.device("cpu"),
        precision="fp32",
        batch=n_clips,
    )


def claimed(sources, maker):
    return [ClaimedVideo(s, [maker], FileState.of(s.path)) for s in sources]


def store_all(store, backbone, videos):
    """Store videos by a backbone. Returns how each ended."""
    sources = find_sources([videos])
    maker = FeatureMaker(backbone, ExtractSettings(dtype="float32"))
    with (
        DecoderPool(2, clips_per_block=3, tail="repeat-last") as pool,
        Pipeline(store, [maker], grid=ClipGrid()) as pipeline,
    ):
        events = pool.decode([s.path for s in sources])
        ends = list(pipeline.store(events, claimed(sources, maker)))
        return {end.source.id: end.error for end in ends}


@pytest.mark.parametrize("n_clips", [1, 2, 4, 16])
def test_batches_across_videos_do_not_change_a_bit(videos, tmp_path, n_clips):
    backbone = brightness(n_clips)
    store = FeatureStore.create(tmp_path / "s.zarr")
    assert store_all(store, backbone, videos) == {"a": None, "b": None, "c": None}
    assert set(backbone.network.n_views) == {n_clips}  # the last batch, too, is a full one
    assert len(backbone.network.n_views) == -(-6 // n_clips)
    for video in ("a", "b", "c"):
        (clips,) = [
            event.rgb for event in decoded(videos / f"{video}.mp4") if isinstance(event, Clips)
        ]
        features = store.read(video, "visual/brightness")
        np.testing.assert_array_equal(features, brightness(1)(clips))


def test_batch_sizes_change_features_by_rounding_alone():
    clips = np.random.default_rng(0).integers(0, 256, (3, 16, 60, 80, 3), np.uint8)
    alone, two = (
        create_backbone("efficientnet-lite0", weights="random:0", batch=batch) for batch in (1, 2)
    )
    features = two(clips)
    assert np.abs(features - alone(clips)).max() <= 1e-5 * np.abs(features).max()
    np.testing.assert_array_equal(two(clips[1:]), features[1:])  # in other company, to the bit


def decoded(path):
    with DecoderPool(1, clips_per_block=8, tail="repeat-last") as pool:
        return list(pool.decode([path]))


def test_a_video_that_fails_late_leaves_its_companions_and_no_trace(videos, tmp_path):
    sources = find_sources([videos])[:2]
    opened, clips, _ = decoded(sources[0].path)
    other = decoded(sources[1].path)
    error = VideoError("crashed", "its decoder died")
    at = [type(e)(**{**fields_of(e), "index": 1}) for e in other]
    events = [opened, at[0], clips, at[1], Failed(0, error), at[2]]
    store = FeatureStore.create(tmp_path / "s.zarr")
    maker = FeatureMaker(brightness(4), ExtractSettings(dtype="float32"))
    with Pipeline(store, [maker], grid=ClipGrid()) as pipeline:
        ends = list(pipeline.store(events, claimed(sources, maker)))
    ended = {end.source: end.error for end in ends}
    assert ended == {sources[0]: error, sources[1]: None}
    assert store.ids() == ["b"]
    assert store.read("b", "visual/brightness").shape == (3, 1, 2)
    assert list((store.path / ".scratch").iterdir()) == []


def fields_of(event):
    return {name: getattr(event, name) for name in event.__slots__}


def test_features_that_are_not_finite_fail_the_video_alone(videos, tmp_path):
    class Dark(Brightness):
        passes = itertools.count()

        def forward(self, views):
            return super().forward(views) / min(next(self.passes), 1)  # by zero, the first time

    backbone = brightness(1, Dark())
    store = FeatureStore.create(tmp_path / "s.zarr")
    ended = store_all(store, backbone, videos)
    assert sorted(error.reason for error in ended.values() if error) == ["not-finite"]
    assert len(store.ids()) == 2


@pytest.mark.parametrize(
    ("happens", "reason"), [("grows", "changed"), ("replaced", "changed"), ("removed", "vanished")]
)
def test_a_video_that_changes_while_it_is_read_is_not_stored(videos, tmp_path, happens, reason):
    path = Path(shutil.copy(videos / "a.mp4", tmp_path))

    class Meddling(Brightness):
        def forward(self, views):
            if happens == "grows":
                path.write_bytes(path.read_bytes() + b"more")
            elif happens == "replaced":
                (tmp_path / "new.mp4").write_bytes(b"another")
                (tmp_path / "new.mp4").replace(path)
            else:
                path.unlink(missing_ok=True)
            return super().forward(views)

    store = FeatureStore.create(tmp_path / "s.zarr")
    ended = store_all(store, brightness(1, Meddling()), path)
    assert ended["a"].reason == reason
    assert store.ids() == []


EXTRACT = """
import sys
import vad
vad.extract(sys.argv[1], sys.argv[2], dtype="float32", quiet=True)
"""


def test_a_run_after_a_kill_completes_the_store_to_the_bit(videos, one, python, tmp_path):
    with python.start("-c", EXTRACT, videos, tmp_path / "two.zarr") as run:
        deadline = time.monotonic() + 60
        while not (tmp_path / "two.zarr" / "a").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(run.pid, signal.SIGKILL)
    assert "a" in FeatureStore.open(tmp_path / "two.zarr")
    outcome = extract(videos, tmp_path / "two.zarr", quiet=True, dtype="float32")
    assert "a" in outcome.skipped
    assert_same_bits(arrays(tmp_path / "two.zarr"), arrays(one.path))
    assert list((tmp_path / "two.zarr" / ".scratch").iterdir()) == []


# --- passes of the network


def test_the_number_of_cores_does_not_change_a_bit():
    clips = np.random.default_rng(0).integers(0, 256, (2, 16, 60, 80, 3), np.uint8)
    before = torch.get_num_threads()
    features = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        backbone = create_backbone("efficientnet-lite0", weights="random:0")
        features.append(backbone(clips))
        assert torch.get_num_threads() == n_threads  # its threads keep to themselves
    torch.set_num_threads(before)
    np.testing.assert_array_equal(*features)
    np.testing.assert_array_equal(backbone(clips[1:2]), features[0][1:2])
