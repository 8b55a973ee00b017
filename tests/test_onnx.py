"""ONNX files of a run: equal to PyTorch on real input, or not there."""

import json
import shutil

import numpy as np
import pytest
import torch

import vad
from vad.errors import InternalError, UsageError
from vad.stages.extract.decoders.pool import Clips, DecoderPool
from vad.stages.infer import onnx as writing
from vad.stages.infer.onnx import Sample, Scorer, export, export_detector
from vad.stages.pipelines.onnx import export_onnx
from vad.stages.train.card import Card, Member, Selection, Stream
from vad.stages.train.detectors import DETECTORS, create_detector
from vad.stages.train.run import Run, TrainedMember
from vad.stages.train.streams import Inputs, Scaling
from vad.store import FeatureStore

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX needs wsvad[onnx]")
onnx = pytest.importorskip("onnx", reason="ONNX needs wsvad[onnx]")
pytest.importorskip("onnxscript", reason="ONNX needs wsvad[onnx]")


def run_onnx(path, **inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session, session.run(None, inputs)[0]


def test_pixels_and_features_through_onnx_give_the_scores_of_the_run(small_run, tmp_path):
    written = [e.path.name for e in export_onnx(small_run / "run", tmp_path)]
    assert written == ["detector.onnx", "backbone.onnx"]
    run, store = Run.open(small_run / "run"), FeatureStore.open(small_run / "features.zarr")
    name = run.names["visual"]

    visual = store.read("v2", name).astype(np.float32)
    session, scores = run_onnx(tmp_path / "detector.onnx", visual=visual)
    np.testing.assert_allclose(scores, run.score(visual), atol=1e-5)
    long = np.random.default_rng(0).normal(size=(300, *visual.shape[1:])).astype(np.float32)
    _, scores = run_onnx(tmp_path / "detector.onnx", visual=long)  # any number of snippets
    np.testing.assert_allclose(scores, run.score(long), atol=1e-5)
    told = json.loads(session.get_modelmeta().custom_metadata_map["vad"])
    assert (told["schema"], told["threshold"]) == ("vad.onnx/1", run.threshold)

    with DecoderPool(1, clips_per_block=1, tail="repeat-last") as pool:
        events = pool.decode([small_run / "videos" / "v2.mp4"])
        clip = next(e for e in events if isinstance(e, Clips)).rgb[0]
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(clip).permute(0, 3, 1, 2), (224, 224), mode="bilinear", antialias=True
    )
    pixels = resized.permute(0, 2, 3, 1)[None].float().numpy()
    _, features = run_onnx(tmp_path / "backbone.onnx", pixels=pixels)
    stored = visual[0]  # in half precision
    np.testing.assert_allclose(features, stored, rtol=1e-3, atol=1e-3 * np.abs(stored).max())
    graph = onnx.load(tmp_path / "backbone.onnx").graph  # one network, not one for every frame
    assert sum(node.op_type == "Conv" for node in graph.node) < 60


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_can_be_written(name, tmp_path):
    row, rng = DETECTORS[name], np.random.default_rng(0)
    torch.manual_seed(0)
    text_dim = 32 if row.text else None
    known = {
        **{name: rng.normal(size=(20, 64)) for name in ("dictionary", "bank")},
        **{name: np.ones((20, 1)) for name in ("cells", "weights")},
    }
    arrays = {name: known[name] for name in row.arrays if name in known}
    detector = create_detector(name, visual_dim=64, text_dim=text_dim, arrays=arrays)
    widths = {"visual": (2, 64)} | ({"text": (1, 32)} if row.text else {})
    inputs = Inputs({kind: Scaling() for kind in widths}, apart=row.text)
    streams = [Stream(f"{kind}/x", width) for kind, (_, width) in widths.items()]
    member = Member(name, {}, 64, text_dim, tuple(streams), smoothing=2)
    card = Card((member,), Selection("nothing"), 0.5, training=None, videos={})
    run = Run(tmp_path / "run", card, [TrainedMember(member, detector.eval(), inputs)])
    videos = [
        {k: rng.normal(size=(n, *w)).astype(np.float32) for k, w in widths.items()}
        for n in (40, 1, 2, 5, 77)
    ]
    exported = export_detector(run, videos, tmp_path / "detector.onnx")
    assert exported.largest_difference < 1e-5
    assert exported.n_samples == 5


def linear_run(path, rule="centred"):
    """A run of a linear detector, which smooths its scores by a rule."""
    detector = create_detector("topk", visual_dim=8)
    torch.nn.init.normal_(detector.score.weight)
    member = Member("topk", {}, 8, None, (Stream("visual/x", 8),), smoothing=3, smoothing_rule=rule)
    card = Card((member,), Selection("nothing"), 0.5, training=None, videos={})
    inputs = Inputs({"visual": Scaling()})
    return Run(path, card, [TrainedMember(member, detector.eval(), inputs)])


@pytest.mark.parametrize("rule", ["centred", "slide", "fixed"])
def test_every_way_of_smoothing_can_be_written(rule, tmp_path):
    rng, run = np.random.default_rng(0), linear_run(tmp_path / "run", rule)
    videos = [{"visual": rng.normal(size=(n, 2, 8)).astype(np.float32)} for n in (40, 1, 2, 5)]
    assert export_detector(run, videos, tmp_path / "detector.onnx").largest_difference < 1e-5


def test_a_file_that_disagrees_is_not_left(tmp_path):
    run = linear_run(tmp_path / "run")
    visual = np.random.default_rng(0).normal(size=(5, 2, 8)).astype(np.float32)
    wrong = Sample({"visual": visual}, run.score(visual) + np.float32(1e-3))
    path = tmp_path / "detector.onnx"
    with pytest.raises(InternalError, match="differ by 0.001 on real input: no detector.onnx left"):
        export(Scorer(run), [wrong], path, output="scores", is_dynamic=True, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_of_a_run_on_imported_features_the_detector_alone_is_written(tmp_path):
    rows = ["video,label"]
    for i in range(4):
        features = np.random.default_rng(i).normal(size=(6, 4)).astype(np.float32)
        np.save(tmp_path / f"v{i}.npy", features)
        rows.append(f"v{i},{i % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    store = tmp_path / "features.zarr"
    vad.import_features(tmp_path, store, quiet=True)
    settings = {"detector": "topk", "epochs": 1, "validation": 0, "quiet": True}
    run = vad.train(store, tmp_path / "labels.csv", tmp_path / "run", **settings)
    assert [exported.path.name for exported in export_onnx(run.path)] == ["detector.onnx"]


def test_what_is_missing_is_told(small_run, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(small_run / "run", run)
    empty = FeatureStore.create(tmp_path / "empty.zarr").path
    with pytest.raises(UsageError, match="holds no video with visual/efficientnet-lite0"):
        list(export_onnx(run, store=empty))
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r"pip install 'wsvad\[onnx\]'"):
        writing.check_packages()
    assert not (run / "onnx").exists()
