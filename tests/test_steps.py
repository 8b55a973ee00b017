"""`vad run pipeline.toml`: stages that are skipped when their inputs did not change."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vad.errors import UsageError
from vad.stages.extract.records import unseen_record
from vad.stages.pipelines.steps import read_pipeline, run_pipeline
from vad.store import FeatureStore, Provenance

PIPELINE = """
[train]
detector = "topk"
epochs = 3
validation = 0
share = 0.3
out = "runs/own"
[evaluate]
"""


def add_video(store, name, *, abnormal):
    visual = np.random.default_rng(len(name)).normal(size=(6, 1, 4))
    visual[2:4, 0, 1] += 4 * abnormal
    draft = store.draft(name)
    draft.append("visual/test", visual.astype(np.float16))
    record = unseen_record(Path(name), 96, 25.0, "repeat-last", decoder="none")
    made = Provenance.of({"backbone": "test", "weights": {"name": "none"}})
    record = replace(record, width=320, height=240)
    draft.commit(record, np.arange(96) / 25, {"visual/test": made})


@pytest.fixture
def project(tmp_path):
    store = FeatureStore.create(tmp_path / "features.zarr")
    for i in range(6):
        add_video(store, f"v{i}", abnormal=i % 2)
    rows = [f"v{i},{i % 2},{'test' if i > 3 else 'train'}" for i in range(6)]
    (tmp_path / "labels.csv").write_text("\n".join(["video,label,split", *rows]))
    (tmp_path / "segments.csv").write_text("video,start_frame,end_frame\nv5,32,64\n")
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    return tmp_path


def test_a_stage_runs_again_only_when_what_it_reads_has_changed(project, caplog):
    caplog.set_level("INFO")

    def said(**options):
        caplog.clear()
        assert run_pipeline(project / "pipeline.toml", **options) == 0
        own = [record for record in caplog.records if record.module == "steps"]
        return [record.getMessage().split(":", 1) for record in own]

    assert said(dry_run=True) == [
        [
            "train",
            " would run vad train features.zarr --detector topk --epochs 3 --validation 0 "
            "--set share=0.3 --out runs/own --overwrite",
        ],
        ["evaluate", " would run vad evaluate runs/own --store features.zarr"],
    ]
    assert not (project / "runs").exists()
    assert [name for name, _ in said()] == ["train", "evaluate"]
    assert (project / "runs" / "own" / "card.json").exists()
    assert list((project / "runs" / "own").rglob("metrics.json"))
    assert said() == [["train", " up to date"], ["evaluate", " up to date"]]
    (project / "segments.csv").write_text("video,start_frame,end_frame\nv5,16,64\n")
    assert said()[0] == ["train", " up to date"]
    assert said() == [["train", " up to date"], ["evaluate", " up to date"]]
    add_video(FeatureStore.open(project / "features.zarr"), "another", abnormal=0)
    assert ["train", " up to date"] not in said(dry_run=True)


def test_a_run_that_the_pipeline_did_not_make_is_not_replaced(project):
    card = project / "runs" / "own" / "card.json"
    card.parent.mkdir(parents=True)
    card.write_text("{}")
    with pytest.raises(UsageError, match="runs/own holds a run that .*toml did not make.*out ="):
        run_pipeline(project / "pipeline.toml")
    assert card.read_text() == "{}"


def test_a_stage_that_fails_ends_the_pipeline_with_its_exit_code(project):
    (project / "labels.csv").write_text("video,label\nv0,0\n")
    assert run_pipeline(project / "pipeline.toml") == 2
    assert not (project / "runs" / "own" / "card.json").exists()


def test_stages_share_the_store_and_the_run(tmp_path):
    (tmp_path / "p.toml").write_text(
        'store = "f.zarr"\n[score]\nvideos = "new.mp4"\n[extract]\nvideos = ["a", "b"]\n'
        "offline = true\n[train]\n[caption]\n"
    )
    assert [stage.command for stage in read_pipeline(tmp_path / "p.toml")] == [
        "vad extract a b --offline --store f.zarr",
        "vad caption f.zarr",
        "vad train f.zarr --out runs/default --overwrite",
        "vad score new.mp4 --detector runs/default",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no stage"),
        ("[trian]", "trian.*did you mean 'train'"),
        ("[extract]", "extract names no videos"),
        ("train = 1", "train is no table"),
        ("[train]\nepochs = {a = 1}", "train.epochs is no text, number or list of them"),
        ("[score]\nvideos = 3", "score.videos is a path, or a list of paths"),
        ("[train", "p.toml: "),
    ],
)
def test_mistakes_in_the_file_are_told_before_anything_runs(tmp_path, text, said):
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_pipeline(tmp_path / "p.toml")


def test_a_terminated_stage_ends_the_pipeline(vad, project):
    long = PIPELINE.replace("epochs = 3", "epochs = 100000")
    (project / "pipeline.toml").write_text(long)
    history = project / "runs" / "own" / "history.csv"

    def terminate():
        while not history.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    watcher = threading.Thread(target=terminate, daemon=True)
    watcher.start()
    code, _, err = vad("run", project / "pipeline.toml")
    watcher.join()
    assert code == 143
    assert err.splitlines()[-1] == "vad: terminated"
    assert "evaluate" not in err
    assert not (project / "runs" / "own" / "card.json").exists()


def test_the_command_says_what_it_would_do(vad, project):
    code, _, err = vad("run", project / "pipeline.toml", "--dry-run")
    assert code == 0
    assert "evaluate: would run vad evaluate runs/own" in err
