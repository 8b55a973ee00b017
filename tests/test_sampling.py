"""Clips with a dilation and a stride, from the pixels of a video to scores, streams and figures."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

import vad as library
from vad import extract
from vad.documents import parse
from vad.errors import UsageError
from vad.grid import SAMPLINGS, ClipGrid, Sampling
from vad.stages.extract.backbones import create_backbone
from vad.stages.extract.backbones.backbone import Backbone
from vad.stages.extract.backbones.network import Network
from vad.stages.extract.captioners.settings import CaptionSettings
from vad.stages.extract.decoders.pool import DecoderPool, Opened
from vad.stages.extract.decoders.video import probe
from vad.stages.extract.features import FeatureMaker
from vad.stages.extract.live import Clip, Feed, find_source
from vad.stages.extract.pipeline import ClaimedVideo, Pipeline
from vad.stages.extract.recipes import RECIPES
from vad.stages.extract.records import FileState
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import find_sources
from vad.stages.infer.scores_file import read_scores
from vad.stages.pipelines.stream import stream
from vad.store import FeatureStore, VideoRecord
from vad.store.metadata import Provenance

N_FRAMES = 150
APART = Sampling(5, 64)
CHOICES = {
    "apart": {"dilation": 5, "stride": 64},
    "overlapping": {"stride": 8},
    "few": {"sampling": "timesformer-mil", "stride": 20, "max_clips": 2},
}


def expected_frames(grid, n_frames):
    """The numbers of the frames of each clip; the last frame again beyond the end."""
    offsets = [grid.sampling.dilation * i for i in range(16)]
    starts = grid.starts(n_frames).tolist()
    clips = [[start + offset for offset in offsets] for start in starts]
    return [[n if n < n_frames else max(m for m in c if m < n_frames) for n in c] for c in clips]


class Mean(torch.nn.Module):
    """The mean colour of a view: as light as a network can be."""

    def forward(self, views):
        return views.mean((1, 2, 3))


class Watching:
    """A backbone that keeps the clips it is given."""

    def __init__(self, backbone):
        self.backbone, self.clips = backbone, []

    def __getattr__(self, name):
        return getattr(self.backbone, name)

    def submit(self, clips):
        self.clips += clips
        return self.backbone.submit(clips)


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("name", CHOICES)
def test_a_backbone_sees_the_frames_of_the_grid(make_video, read_numbers, tmp_path, name, decoder):
    if decoder == "decord":
        pytest.importorskip("decord")
    sources = find_sources([make_video(n_frames=N_FRAMES)])
    recipe = RECIPES["efficientnet-lite0"]
    network = Network(Mean(), 3, recipe, {"name": "none"}, "none", 1, 1)
    made = Backbone("mean", network, crops="whole", device=torch.device("cpu"), precision="fp32")
    backbone = Watching(made)
    settings = ExtractSettings(backbone="efficientnet-lite0", **CHOICES[name])
    maker = FeatureMaker(backbone, settings)
    store = FeatureStore.create(tmp_path / "s.zarr")
    video = ClaimedVideo(sources[0], [maker], FileState.of(sources[0].path))
    with (
        DecoderPool(
            1, clips_per_block=3, tail="repeat-last", decoder=decoder, counts=name == "few"
        ) as pool,
        Pipeline(store, [maker], grid=maker.grid) as pipeline,
    ):
        (end,) = pipeline.store(pool.decode([sources[0].path]), [video])
    assert end.error is None
    found = [read_numbers(clip) for clip in backbone.clips]
    assert found == expected_frames(maker.grid, N_FRAMES)
    record = store.record(sources[0].id)
    assert (record.grid, record.decoder.split()[0]) == (maker.grid, decoder)
    assert len(store.read(sources[0].id, maker.arrays[0])) == len(found)


def test_frames_are_counted_beforehand_only_where_their_number_decides(make_video):
    path = make_video(n_frames=70)
    for counts, n_frames in ((True, 70), (False, None)):
        with DecoderPool(1, clips_per_block=3, tail="repeat-last", counts=counts) as pool:
            (opened,) = (event for event in pool.decode([path]) if isinstance(event, Opened))
        assert opened.info.n_frames == n_frames


LENGTHS = {"apart": 70, "overlapping": 20}  # frames of the first video; each other has 4 more


@pytest.fixture(scope="module", params=LENGTHS)
def project(request, tmp_path_factory, write_video):
    """A folder with `videos/`, `labels.csv`, `store.zarr` and `run`; and the sampling of both."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "videos").mkdir()
    for i in range(4):
        write_video(folder / "videos" / f"v{i}.mp4", LENGTHS[request.param] + 4 * i, fps=25)
    splits = ["train", "train", "test", "test"]
    rows = "".join(f"v{i},{i % 2},{split}\n" for i, split in enumerate(splits))
    (folder / "labels.csv").write_text(f"video,label,split\n{rows}")
    settings, store = CHOICES[request.param], folder / "store.zarr"
    extract(folder / "videos", store, quiet=True, backbone="efficientnet-lite0", **settings)
    library.train(
        store, folder / "labels.csv", folder / "run",
        quiet=True, epochs=1, detector="topk", validation=0,
    )  # fmt: skip
    return folder, Sampling(**settings)


def test_a_run_scores_files_stores_and_streams_alike(project):
    folder, sampling = project
    grid, video = ClipGrid(sampling=sampling), folder / "videos" / "v3.mp4"
    whole = library.score(video, detector=folder / "run")
    stored = library.score_store(folder / "store.zarr", folder / "run")
    (staged,) = (scores for scores in stored if scores.video == "v3")
    n_frames = whole.record.n_frames
    np.testing.assert_array_equal(whole.snippets, staged.snippets)
    np.testing.assert_array_equal(whole.frames, grid.spread(whole.snippets, n_frames))
    assert whole.record.grid == grid
    lines = list(stream(str(video), folder / "run", window=64, lookahead=63, quiet=True))
    scores = [line for line in lines if line["type"] == "score"]
    assert [(s["start_frame"], s["end_frame"]) for s in scores] == [
        grid.frames_of(i, n_frames) for i in range(grid.n_snippets(n_frames))
    ]
    np.testing.assert_allclose([s["score"] for s in scores], whole.snippets, atol=2e-6)
    spans = [(s["start_s"], s["end_s"]) for s in whole.to_dict()["snippets"]]
    np.testing.assert_allclose([(s["start_s"], s["end_s"]) for s in scores], spans, atol=1e-3)
    assert (lines[0]["dilation"], lines[0]["stride"]) == (sampling.dilation, sampling.stride)


def test_frames_of_the_truth_are_judged_by_the_grid(project):
    folder, _ = project
    segments = folder / "segments.csv"
    segments.write_text("video,start_frame,end_frame\nv3,10,25\n")
    stored = library.score_store(folder / "store.zarr", folder / "run")
    frames = {scores.video: scores.frames for scores in stored}
    truth = np.zeros(len(frames["v2"]) + len(frames["v3"]), bool)
    truth[len(frames["v2"]) :][10:25] = True
    scores = np.concatenate([frames["v2"], frames["v3"]])
    above = (scores[truth][:, None] > scores[~truth]).mean()
    equal = (scores[truth][:, None] == scores[~truth]).mean()
    found = library.evaluate(folder / "run", segments)
    assert found.figures.frame.auc == pytest.approx(above + equal / 2)


def test_scores_of_any_sampling_are_written_and_read_again(project, tmp_path):
    folder, sampling = project
    scores = library.score(folder / "videos" / "v1.mp4", detector=folder / "run", threshold=0.0)
    path, *_ = scores.save(tmp_path, ["json", "html"])
    again = read_scores(path)
    assert json.loads(path.read_text())["sampling"]["stride"] == sampling.stride
    np.testing.assert_array_equal(again.frames, scores.frames)
    assert again.events == scores.events
    for how in ("linear", "gaussian"):
        rule = replace(scores.propagation, propagation=how)
        frames = replace(scores, propagation=rule).frames
        assert scores.snippets.min() <= frames.min() <= frames.max() <= scores.snippets.max()


def test_a_store_and_a_run_keep_one_sampling(project, tmp_path):
    folder, sampling = project
    store, run, dense = folder / "store.zarr", folder / "run", tmp_path / "dense.zarr"
    first = folder / "videos" / "v0.mp4"
    with pytest.raises(UsageError, match=rf"sampling: '16 frames .*' now, '{sampling}' there"):
        extract(first, store, quiet=True, backbone="efficientnet-lite0")
    with pytest.raises(UsageError, match=rf"another sampling \(16 frames consecutive.*{sampling}"):
        extract(first, store, quiet=True, weights="random:0")  # another array
    extract(first, dense, quiet=True, backbone="efficientnet-lite0")
    with pytest.raises(UsageError, match=rf"was trained on .* with sampling '{sampling}', 'v0'"):
        list(library.score_store(dense, run))
    with pytest.raises(UsageError, match=rf"sampling: '{sampling}' now, .*score with another"):
        library.score_videos(first, run, on_scores=print, store=dense, quiet=True)


def test_captions_are_those_of_the_snippets(make_video, tmp_path):
    store, file = tmp_path / "s.zarr", make_video("v0.mp4", N_FRAMES)
    extract(file, store, quiet=True, backbone="efficientnet-lite0", **CHOICES["apart"])
    library.caption(store, captioner="labels", quiet=True)
    opened = FeatureStore.open(store)
    made = opened.info("v0", "captions/labels").provenance
    assert (made.stride, made.sampling, CaptionSettings().stride) == (64, APART, None)
    assert len(opened.read("v0", "captions/labels")) == len(opened.read("v0", "text/minilm")) == 3
    assert opened.info("v0", "text/minilm").provenance.captions.sampling == APART
    said = tmp_path / "said.csv"
    said.write_text("video,caption,start_frame,end_frame\nv0,one,0,110\nv0,two,128,150\n")
    library.caption(store, captioner=f"file:{said}", name="said", quiet=True)
    assert opened.read("v0", "captions/said").tolist() == ["one", "one", "two"]


def test_a_video_shorter_than_a_whole_clip_fails_where_the_tail_is_dropped(make_video, tmp_path):
    outcome = extract(
        make_video(n_frames=75), tmp_path / "s.zarr", quiet=True, backbone="efficientnet-lite0",
        weights="random:0", sampling="timesformer-mil",
    )  # fmt: skip
    assert outcome.failed["video"].reason == "too-short"
    assert "its 75 frames make no snippet where the tail is dropped" in str(outcome.failed["video"])


def test_the_published_sampling_gives_way_to_single_settings():
    backbone = create_backbone("efficientnet-lite0", weights="random:0")
    settings = ExtractSettings(sampling="timesformer-mil", tail="loop", max_clips=9)
    assert FeatureMaker(backbone, settings).grid == ClipGrid("loop", Sampling(5, 64, 9))
    settings = ExtractSettings(sampling="timesformer-mil")
    assert FeatureMaker(backbone, settings).grid == SAMPLINGS["timesformer-mil"]
    with pytest.raises(UsageError, match=r"keep 1,501 frames .* a smaller --dilation"):
        FeatureMaker(backbone, ExtractSettings(dilation=100, stride=1))


def test_flow_is_per_second_whatever_the_dilation(make_video):
    backbone = create_backbone("efficientnet-lite0-parts", weights="random:0")
    info = probe(make_video())  # of 30 frames a second
    for dilation, fps in ((1, 30), (5, 6)):
        making = FeatureMaker(backbone, ExtractSettings(dilation=dilation)).begin(info)
        assert making.fps == fps


def test_a_live_source_gives_the_clips_of_the_grid(make_video, read_numbers):
    path = make_video(n_frames=N_FRAMES, fps=25)
    for sampling in (APART, Sampling(1, 8), Sampling(2, 40)):
        grid = ClipGrid(sampling=sampling)
        with Feed(find_source(str(path)), grid=grid) as feed:
            clips = [e for e in feed.events(threading.Event()) if isinstance(e, Clip)]
        spans = [(c.first_frame, c.first_frame + c.n_frames) for c in clips]
        assert spans == [grid.frames_of(i, N_FRAMES) for i in range(grid.n_snippets(N_FRAMES))]
        assert [read_numbers(c.rgb) for c in clips] == expected_frames(grid, N_FRAMES)
        np.testing.assert_allclose([(c.start_s, c.end_s) for c in clips], np.array(spans) / 25)


def test_a_damaged_sampling_is_told_by_its_field():
    with pytest.raises(ValueError, match=r"sampling\.stride is 0, expected 1 to 1,000,000"):
        Provenance.of({"sampling": {"stride": 0}})
    assert Provenance.of({}).sampling == Sampling()


def test_a_record_of_an_earlier_store_has_the_default_sampling(make_scores):
    document = make_scores([0.5, 0.7]).to_dict()
    assert document.pop("sampling") == {"dilation": 1, "stride": 16, "max_clips": None}
    assert parse(VideoRecord, document).grid == ClipGrid()
