"""Files of published weights: read, started from, imported as a run, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vad.config import build, options
from vad.errors import UsageError
from vad.stages.extract.records import unseen_record
from vad.stages.infer.scoring import score_stored
from vad.stages.train.detectors import DETECTORS, Detector, create_detector
from vad.stages.train.presets import PRESETS, split_settings
from vad.stages.train.run import Run, smooth
from vad.stages.train.settings import TrainSettings
from vad.stages.train.training import train
from vad.stages.train.weights import from_published, import_detector, read_weights
from vad.store import FeatureStore, Provenance

DIM, TEXT_DIM = 12, 6
VIDEOS = [f"v{index}" for index in range(8)]


def published(name: str, **settings: Any) -> Detector:
    torch.manual_seed(1)
    text_dim = TEXT_DIM if DETECTORS[name].text else None
    return create_detector(name, visual_dim=DIM, text_dim=text_dim, settings=settings).eval()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Eight videos of 5 snippets: visual features of 2 crops, and text."""
    store = FeatureStore.create(tmp_path_factory.mktemp("data") / "features.zarr")
    random = np.random.default_rng(0)
    for name in VIDEOS:
        record = unseen_record(Path(name), 80, 25.0, "repeat-last", decoder="none")
        draft = store.draft(name)
        draft.append("visual/i3d", random.normal(size=(5, 2, DIM)).astype(np.float32))
        draft.append("text/simcse", random.normal(size=(5, TEXT_DIM)).astype(np.float32))
        visual, text = Provenance.of({"backbone": "i3d"}), Provenance.of({"encoder": "simcse"})
        provenance = {"visual/i3d": visual, "text/simcse": text}
        draft.commit(record, np.arange(80) / 25, provenance)
    lines = [f"{name},{index % 2}" for index, name in enumerate(VIDEOS)]
    (store.path.parent / "labels.csv").write_text("\n".join(["video,label", *lines]))
    return store


def labels(store: FeatureStore) -> Path:
    return store.path.parent / "labels.csv"


def bare(weights: dict[str, torch.Tensor]) -> Any:
    return weights


def wrapped(weights: dict[str, torch.Tensor]) -> Any:
    return {"epoch": 7, "state_dict": {f"module.{n}": w for n, w in weights.items()}}


def checkpoint(weights: dict[str, torch.Tensor]) -> Any:
    return {"model_state_dict": weights, "val_auc": 0.9, "history": {"loss": [1.0]}}


@pytest.mark.parametrize("container", [bare, wrapped, checkpoint])
@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
def test_published_containers_hold_the_same_weights(
    tmp_path: Path, container: Any, suffix: str
) -> None:
    weights, path = published("rtfm", width=4).state_dict(), tmp_path / f"rtfm{suffix}"
    if suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(container(weights), path)
    read = read_weights(path)
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weights[name]) for name in weights)


class Payload:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("touched"),))


def test_pickled_objects_are_refused_and_do_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for held in (published("mil"), {"weight": torch.ones(1), "more": Payload()}):
        torch.save(held, tmp_path / "whole.pkl")
        with pytest.raises(UsageError, match="holds pickled objects, which could run code; where"):
            read_weights(tmp_path / "whole.pkl")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no file"), (b"", "cannot be read as weights"), (b"PK\3\4rubbish", "weights")],
)
def test_files_that_are_no_weights_are_refused(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_weights(tmp_path / "w.pth")


SIZES: dict[str, dict[str, Any]] = {
    name: {"width": 4} if "width" in options(row.settings) else {}
    for name, row in DETECTORS.items()
}
SIZES["tevad"] = {"fusion": "add"}


@pytest.mark.parametrize("name", sorted(set(DETECTORS) - {"normality"}))  # it has no weights
def test_an_imported_run_scores_as_the_published_weights_do(
    store: FeatureStore, tmp_path: Path, name: str
) -> None:
    arrays = {"dictionary": np.ones((3, DIM), np.float32)} if name == "s3r" else {}
    torch.manual_seed(1)
    text_dim = TEXT_DIM if DETECTORS[name].text else None
    original = create_detector(
        name, visual_dim=DIM, text_dim=text_dim, settings=SIZES[name], arrays=arrays
    ).eval()
    weights = {n: w for n, w in original.state_dict().items() if n != "dictionary"}
    torch.save(weights, tmp_path / "w.pth")
    given: dict[str, Any] = {"fusion": "add"} if name == "tevad" else {}
    for array, values in arrays.items():
        np.save(tmp_path / f"{array}.npy", values)
        given[array] = tmp_path / f"{array}.npy"
    import_detector(tmp_path / "w.pth", tmp_path / "run", **given)
    run = Run.open(tmp_path / "run")
    assert run.card.detector == name
    (scored,) = score_stored(store, run, ["v3"])
    visual = torch.from_numpy(store.read("v3", "visual/i3d")).transpose(0, 1)[None]
    text = torch.from_numpy(store.read("v3", "text/simcse"))[None]
    with torch.inference_mode():
        expected = original(visual, text).scores[0]
    torch.testing.assert_close(torch.from_numpy(scored.snippets), expected)


def test_an_imported_run_notes_what_it_is_and_whose_features_it_reads(
    store: FeatureStore, tmp_path: Path
) -> None:
    torch.save(published("tevad").state_dict(), tmp_path / "w.pth")
    import_detector(tmp_path / "w.pth", tmp_path / "run", store=store.path)
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    visual, text = card["members"][0]["streams"]
    assert visual["provenance"] == {"backbone": "i3d"}
    assert text["provenance"] == {"encoder": "simcse"}
    assert card["selection"]["on"] == "imported weights: chosen by their authors"
    assert len(card["imported"]["sha256"]) == 64


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("rtfm", {"detector": "mgfn"}, "holds weights of rtfm, not of mgfn"),
        ("rtfm", {"visual": "clip"}, "holds no visual array 'clip'"),
        ("rtfm", {"colour": 1}, "no setting 'colour'"),
        ("s3r", {}, "needs the dictionary that it was trained with; give the .npy file"),
    ],
)
def test_imports_that_cannot_be_are_refused(
    store: FeatureStore, tmp_path: Path, name: str, given: dict[str, Any], message: str
) -> None:
    torch.save(published(name, width=4).state_dict(), tmp_path / "w.pth")
    with pytest.raises(UsageError, match=message):
        import_detector(tmp_path / "w.pth", tmp_path / "run", store=store.path, **given)
    assert not (tmp_path / "run").exists()


def test_features_of_another_width_are_refused(store: FeatureStore, tmp_path: Path) -> None:
    wide = create_detector("mil", visual_dim=DIM + 1)
    torch.save(wide.state_dict(), tmp_path / "w.pth")
    with pytest.raises(UsageError, match="read visual features of 13 values, visual/i3d in .* 12"):
        import_detector(tmp_path / "w.pth", tmp_path / "run", store=store.path)
    run = import_detector(tmp_path / "w.pth", tmp_path / "run")
    with pytest.raises(UsageError, match=r"reads visual/i3d of 13 values per snippet, 'v0' .* 12"):
        list(score_stored(store, run))
    settings: dict[str, Any] = {"weights": tmp_path / "w.pth", "quiet": True}
    with pytest.raises(UsageError, match="reads features of 13 values, here there are 12; start"):
        train(store.path, labels(store), tmp_path / "r", **settings)


def test_weights_of_one_key_too_many_or_too_few_are_refused(tmp_path: Path) -> None:
    weights = published("mil").state_dict()
    weights["fc4.weight"] = weights.pop("fc3.weight")
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"(?s)weights of mil, but.*fc3\.weight.*fc4\.weight"):
        import_detector(tmp_path / "w.pth", tmp_path / "run")


def test_training_starts_from_given_weights(store: FeatureStore, tmp_path: Path) -> None:
    original = published("rtfm", width=4)
    torch.save(original.state_dict(), tmp_path / "w.pth")
    settings: dict[str, Any] = {
        "weights": str(tmp_path / "w.pth"),
        "epochs": 1,
        "lr": 0.0,
        "quiet": True,
    }
    run = train(store.path, labels(store), tmp_path / "r", **settings)
    assert run.only.card.settings["width"] == 4
    assert run.card.training is not None
    assert run.card.training.scale == "none"
    for name, weight in original.named_parameters():  # a learning rate of 0 leaves them
        torch.testing.assert_close(run.only.detector.get_parameter(name), weight, msg=name)
    own: dict[str, Any] = {
        "weights": str(tmp_path / "r" / "members" / "0" / "detector.safetensors"),
        "epochs": 1,
        "lr": 0.0,
    }
    again = train(store.path, labels(store), tmp_path / "again", quiet=True, **own)
    torch.testing.assert_close(
        again.only.detector.get_parameter("fc1.weight"), original.get_parameter("fc1.weight")
    )


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_of_settings_that_exist(name: str) -> None:
    preset = PRESETS[name]
    training, own = split_settings({"preset": name})
    assert training.detector == preset.detector
    assert name.startswith(preset.detector)
    build(DETECTORS[preset.detector].settings, own, where=name)
    for setting, value in preset.settings.items():
        assert (
            getattr(training, setting) if setting in options(TrainSettings) else own[setting]
        ) == (value)


def test_what_is_given_beside_a_preset_wins() -> None:
    training, own = split_settings({"preset": "tevad-ped2", "epochs": 5, "fusion": "concat"})
    assert (training.detector, training.batch, training.epochs) == ("tevad", 2, 5)
    assert own["fusion"] == "concat"
    with pytest.raises(UsageError, match="the preset tevad-ped2 is of tevad, not of rtfm"):
        split_settings({"preset": "tevad-ped2", "detector": "rtfm"})
    with pytest.raises(UsageError, match="no preset named 'tevad-ped'; .* mean 'tevad-ped2'"):
        split_settings({"preset": "tevad-ped"})


# --- what was not equal to the published, to the last case


def test_bnwvad_averages_the_product_of_distance_and_score_over_crops(tmp_path: Path) -> None:
    """Also for videos that are long enough to be scored a crop at a time."""
    detector = published("bnwvad", width=8)
    torch.save(detector.state_dict(), tmp_path / "w.pth")
    run = import_detector(tmp_path / "w.pth", tmp_path / "run")
    for n_snippets in (7, 1100):
        visual = np.random.default_rng(0).normal(size=(n_snippets, 5, DIM)).astype(np.float32)
        anomalies = []
        with torch.inference_mode():
            for crop in range(5):  # as the released test does: each crop by itself
                parts = detector(torch.from_numpy(visual[None, :, crop]).unsqueeze(1)).parts
                anomalies.append((parts["first"] + parts["second"]) * parts["normal_scores"])
        anomaly = torch.stack(anomalies).mean(0)[0, 0].numpy()
        np.testing.assert_allclose(run.score(visual), anomaly / (1 + anomaly), atol=1e-5)


def test_s3r_of_other_widths_has_classifiers_of_a_quarter_and_a_sixteenth() -> None:
    shapes = {
        n: list(w.shape) for n, w in create_detector("s3r", visual_dim=64).state_dict().items()
    }
    for classifier in ("video_classifier", "macro_classifier.mlp"):
        assert shapes[f"{classifier}.0.weight"] == [16, 64]
        assert shapes[f"{classifier}.3.weight"] == [4, 16]
        assert shapes[f"{classifier}.6.weight"] == [1, 4]


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_run_of_our_own_is_started_from_with_its_components_and_its_one_layer(
    store: FeatureStore, tmp_path: Path, what: str
) -> None:
    first = train(
        store.path,
        labels(store),
        tmp_path / "first",
        detector="rtfm",
        epochs=1,
        components=3,
        quiet=True,
    )
    assert first.only.card.settings["layers"] == 1
    weights = tmp_path / "first" / ("members/0/detector.safetensors" if what == "file" else "")
    given: dict[str, Any] = {"weights": str(weights), "lr": 0.0, "epochs": 1, "quiet": True}
    again = train(store.path, labels(store), tmp_path / "again", **given)
    visual = store.read("v1", "visual/i3d")
    np.testing.assert_allclose(again.score(visual), first.score(visual), atol=0.05)
    for name, weight in first.only.detector.named_parameters():
        torch.testing.assert_close(again.only.detector.get_parameter(name), weight)
    made = from_published(weights)
    for name, weight in first.only.detector.state_dict().items():
        torch.testing.assert_close(made.state_dict()[name], weight)


def test_training_asks_for_what_weights_do_not_tell(store: FeatureStore, tmp_path: Path) -> None:
    torch.save(published("pel4vad", t_step=3).state_dict(), tmp_path / "xd.pth")
    torch.save(published("tevad", fusion="product").state_dict(), tmp_path / "tevad.pth")
    for file, asked in (("xd.pth", "window nor norm"), ("tevad.pth", "fusion")):
        given: dict[str, Any] = {"weights": str(tmp_path / file), "quiet": True}
        with pytest.raises(UsageError, match=f"do not tell the setting {asked}; give them"):
            train(store.path, labels(store), tmp_path / "r", **given)
        with pytest.raises(UsageError, match=f"do not tell the setting {asked}; give them"):
            import_detector(tmp_path / file, tmp_path / "r")
    training, own = split_settings({"weights": str(tmp_path / "tevad.pth"), "fusion": "product"})
    assert (training.detector, own["fusion"]) == ("tevad", "product")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    weights = published("topk").state_dict()
    weights["score.weight"][0, 2] = value
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(UsageError, match="score.weight holds values that are not finite"):
        import_detector(tmp_path / "w.pth", tmp_path / "run")


def test_scores_are_smoothed_as_pel4vad_does_in_its_test() -> None:
    scores = np.array([1, 2, 3, 4, 5], np.float32)
    assert smooth(scores, 2, "slide").tolist() == [1.5, 2.5, 3.5, 4.5, 2.5]  # zeros after the end
    assert smooth(scores, 2, "fixed").tolist() == [1.5, 1.5, 3.5, 3.5, 2.5]
    assert smooth(scores, 8, "fixed").tolist() == [1.875] * 5
    training, _ = split_settings({"preset": "pel4vad-xd-violence"})
    assert (training.smoothing, training.smoothing_rule) == (8, "fixed")


def test_imported_weights_may_be_smoothed_as_in_the_published_test(tmp_path: Path) -> None:
    torch.save(published("pel4vad").state_dict(), tmp_path / "w.pth")
    settings: dict[str, Any] = {"smoothing": "7", "smoothing_rule": "slide"}
    plain = import_detector(tmp_path / "w.pth", tmp_path / "plain")
    run = import_detector(tmp_path / "w.pth", tmp_path / "run", **settings)
    visual = np.random.default_rng(0).normal(size=(20, 2, DIM)).astype(np.float32)
    expected = smooth(plain.score(visual), 7, "slide")
    np.testing.assert_allclose(run.score(visual), expected, atol=1e-6)
