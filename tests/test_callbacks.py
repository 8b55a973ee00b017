"""Callbacks and loggers of a training, and a Dataset for a loop of one's own."""

import ast
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import vad as package
from vad.errors import UsageError
from vad.stages.extract.records import unseen_record
from vad.stages.train.bags import segment_mean
from vad.stages.train.callbacks import LOGGERS
from vad.stages.train.history import read_history
from vad.store import FeatureStore, Provenance

ROOT = Path(__file__).resolve().parent.parent
QUICK = {"detector": "topk", "epochs": 6, "quiet": True}
LENGTHS = [3, 40, 6, 7, 32, 33, 5, 9, 12, 4, 6, 8]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folder of a store of 12 videos, two of them for testing, and their labels."""
    folder = tmp_path_factory.mktemp("data")
    store, random = FeatureStore.create(folder / "features.zarr"), np.random.default_rng(0)
    rows = ["video,label,category,split"]
    for i, n_snippets in enumerate(LENGTHS):
        visual = random.normal(size=(n_snippets, 2, 4))
        visual[1:3, :, 1] += 3 * (i % 2)
        draft = store.draft(f"v{i}")
        draft.append("visual/test", visual.astype(np.float16))
        record = unseen_record(Path(f"v{i}"), n_snippets * 16, 25.0, "repeat-last", decoder="none")
        record = replace(record, width=320, height=240)
        made = Provenance.of({"backbone": "test", "weights": {"name": "none"}})
        draft.commit(record, np.arange(n_snippets * 16) / 25, {"visual/test": made})
        kind = "fire" if i % 2 else ""
        rows.append(f"v{i},{i % 2},{kind},{'test' if i > 9 else 'train'}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


class Recorder(package.Callback):
    """Keeps what it is told."""

    def __init__(self):
        self.began, self.epochs, self.ended = [], [], []

    def start(self, training):
        self.began.append(training)

    def epoch(self, part, epoch, figures):
        self.epochs.append((part, epoch, dict(figures)))

    def end(self, run):
        self.ended.append(run)


def trained(data, out, **settings):
    return package.train(data / "features.zarr", data / "labels.csv", out, **QUICK | settings)


def test_a_callback_is_told_the_start_every_epoch_and_the_end(data, tmp_path):
    told = Recorder()
    topk = package.detectors.TopK(k=2)
    run = trained(data, tmp_path / "run", callbacks=[told], detector=topk)
    (began,) = told.began
    assert (began.out, began.after_epoch) == (run.path, 0)
    assert (began.settings["epochs"], began.settings["k"]) == (6, 2)
    rows = [{"epoch": epoch, **figures} for part, epoch, figures in told.epochs if part == ""]
    assert rows == [pytest.approx(row) for row in read_history(run.path / "history.csv")]
    assert {"train/loss/total", "validation/loss", "validation/video_auc"} < set(rows[0])
    assert told.ended == [run]


def test_of_a_run_of_members_every_fit_is_told_apart(data, tmp_path):
    told = Recorder()
    run = trained(data, tmp_path / "run", detector=None, epochs=2, callbacks=[told])
    parts = {}
    for part, epoch, figures in told.epochs:
        parts.setdefault(part, []).append(epoch)
        assert figures["train/loss/total"] > 0
    assert set(parts) == {"topk:test", *(f"topk:test/fold-{n}" for n in range(5))}
    assert set(map(tuple, parts.values())) == {(1, 2)}
    assert told.began[0].settings["members"] == ["topk:test"]
    assert told.ended == [run]


def test_a_callback_that_raises_ends_the_training_which_goes_on_with_resume(data, tmp_path):
    class Stopper(Recorder):
        def epoch(self, part, epoch, figures):
            super().epoch(part, epoch, figures)
            if epoch == 4:
                raise KeyboardInterrupt

    told = Stopper()
    with pytest.raises(KeyboardInterrupt):
        trained(data, tmp_path / "run", callbacks=[told])
    assert told.ended == [None]
    again = Recorder()
    trained(data, tmp_path / "run", callbacks=[again], resume=True)
    assert again.began[0].after_epoch == 4
    assert [epoch for _, epoch, _ in again.epochs] == [5, 6]


def test_wrong_input_is_refused_before_a_callback_is_told_anything(data, tmp_path):
    told = Recorder()
    with pytest.raises(UsageError, match="epochs"):
        trained(data, tmp_path / "run", callbacks=[told], epochs=0)
    assert (told.began, told.ended) == ([], [])


def test_tensorboard_has_the_figures_of_every_epoch_and_of_the_run(data, tmp_path, vad):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="wsvad[tensorboard]"
    )
    store, labels, out = data / "features.zarr", data / "labels.csv", tmp_path / "run"
    args = ("--detector", "topk", "--epochs", "6", "--out", out, "--log-to", "tensorboard")
    code, _, err = vad("train", store, "--labels", labels, *args)
    assert code == 0, err
    found = accumulator.EventAccumulator(str(out / "tensorboard")).Reload()
    losses = [(e.step, e.value) for e in found.Scalars("train/loss/total")]
    rows = read_history(out / "history.csv")
    assert losses == [(row["epoch"], pytest.approx(row["train/loss/total"])) for row in rows]
    (auc,) = found.Scalars("run/validation/video_auc")
    assert auc.value == pytest.approx(package.Run.open(out).figures["validation/video_auc"])
    trained(data, out, overwrite=True)
    assert not (out / "tensorboard").exists()  # it is of the run that was replaced


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
@pytest.mark.filterwarnings("ignore")  # of these libraries
def test_other_loggers_take_a_whole_training(data, tmp_path, monkeypatch, name):
    pytest.importorskip(name, reason=f"pip install {name}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    run = trained(data, tmp_path / "run", log_to=[name])
    trained(data, tmp_path / "members", log_to=[name], detector=None, epochs=2)
    if name == "wandb":
        assert len(list((run.path / "wandb").glob("offline-run-*/*.wandb"))) == 1
        return
    from mlflow import MlflowClient

    client = MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'vad'")
    logged = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    losses = client.get_metric_history(logged[str(run.path)].info.run_id, "train/loss/total")
    rows = read_history(run.path / "history.csv")
    assert [(m.step, m.value) for m in losses] == [
        (row["epoch"], pytest.approx(row["train/loss/total"])) for row in rows
    ]
    assert logged[str(run.path)].data.params["detector"] == "topk"
    assert {logged_run.info.status for logged_run in logged.values()} == {"FINISHED"}


@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_whose_package_is_missing_says_what_to_install(
    data, tmp_path, vad, name, monkeypatch
):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    args = (data / "features.zarr", "--labels", data / "labels.csv", "--out", tmp_path / "run")
    code, _, err = vad("train", *args, "--log-to", name)
    assert code == 2
    assert f"--log-to {name} needs the package {name}; pip install " in err
    assert not (tmp_path / "run").exists()
    code, _, err = vad("train", *args, "--log-to", f"{name}s")
    assert code == 2
    assert f"did you mean {name!r}" in err


# --- the Dataset


def test_the_dataset_has_the_bags_of_a_split_pooled_and_padded(data):
    store = FeatureStore.open(data / "features.zarr")
    bags = package.BagDataset(data / "features.zarr", data / "labels.csv", segments=8)
    assert bags.videos == [f"v{i}" for i in range(10)]
    assert bags.dims == {"visual": 4}
    assert bags.labels.tolist() == [0, 1] * 5
    for item, n_snippets in zip(bags, LENGTHS, strict=False):
        stored = store.read(item["video"], "visual/test")
        length = min(8, n_snippets)
        pooled = segment_mean(stored, 8) if n_snippets >= 8 else stored.astype(np.float32)
        assert item["mask"].tolist() == [True] * length + [False] * (8 - length)
        assert item["visual"].shape == (2, 8, 4)
        np.testing.assert_array_equal(item["visual"][:, :length], pooled.transpose(1, 0, 2))
        assert not item["visual"][:, length:].any()
    assert (bags[1]["label"], bags[1]["category"], bags[-1]["video"]) == (1.0, "fire", "v9")
    with pytest.raises(IndexError):
        bags[10]


def test_a_data_loader_makes_batches_of_the_dataset(data):
    bags = package.BagDataset(data / "features.zarr", {"v1": 1, "v2": 0, "v4": 0}, segments=4)
    (batch,) = DataLoader(bags, batch_size=3)
    assert batch["visual"].shape == (3, 2, 4, 4)
    assert batch["label"].tolist() == [1, 0, 0]
    assert batch["mask"].all()
    assert batch["video"] == ["v1", "v2", "v4"]


def test_wrong_splits_and_videos_of_a_dataset_are_told(data):
    store = data / "features.zarr"
    with pytest.raises(UsageError, match="no video of the split 'tset'"):
        package.BagDataset(store, data / "labels.csv", split="tset")
    with pytest.raises(UsageError, match="v99"):
        package.BagDataset(store, {"v1": 1, "v99": 0})


def test_the_loop_of_the_documents_learns(data, tmp_path, monkeypatch):
    text = (ROOT / "docs" / "detectors.md").read_text(encoding="utf-8")
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    (code,) = [block for block in blocks if "BagDataset" in block]
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 16
    monkeypatch.chdir(data)
    torch.manual_seed(0)
    values = {}
    exec(compile(ast.parse(code), "docs/detectors.md", "exec"), values)  # noqa: S102 - ours
    bags, model = values["bags"], values["model"]
    peaks = torch.stack([model(x["visual"][:, x["mask"]]).mean(0).max() for x in bags])
    labels = torch.from_numpy(bags.labels)
    assert peaks[labels == 1].min() > peaks[labels == 0].max()
