"""Runs and stores from someone else: what they name is opened only if it is theirs or known."""

import json
import os
import shutil

import pytest

from vad.errors import UsageError
from vad.store import FeatureStore

# Runs commands, and prints the connections that they open and the files outside of the project.
WATCHED = """
import json, os, socket, sys

outside = sys.argv[2]

def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        if event != "socket.connect" or args[0].family != socket.AF_UNIX:
            print("CONNECTED", event, args[1:], flush=True)
    elif event in ("open", "os.listdir", "os.scandir") and isinstance(args[0], (str, bytes)):
        path = os.path.realpath(os.fsdecode(args[0]))
        if path.startswith(outside):
            print("OPENED", event, path, flush=True)

from vad.stages.pipelines.cli import main
sys.addaudithook(watch)
for command in json.loads(sys.argv[1]):
    sys.argv = ["vad", *command]
    try:
        main()
    except SystemExit as done:
        print("EXIT", done.code or 0, flush=True)
"""


@pytest.fixture
def watched(project, python):
    """Run commands in the project: exit codes, lines of what was opened, and stderr."""

    def run(*commands):
        words = json.dumps([[str(a) for a in c] for c in commands])
        outside = project.parent / "outside"
        done = python.run("-c", WATCHED, words, outside, cwd=project, timeout=300)
        lines = done.stdout.splitlines()
        codes = [int(line.split()[1]) for line in lines if line.startswith("EXIT")]
        opened = [line for line in lines if line.startswith(("OPENED", "CONNECTED"))]
        return codes, opened, done.stderr

    return run


@pytest.fixture
def project(small_run, tmp_path):
    """A project folder with a store and a run, and beside it a folder that is not the stranger's:
    with a store, weights, a video and labels.
    """
    folder, outside = tmp_path / "project", tmp_path / "outside"
    for where in (folder, outside):
        shutil.copytree(small_run / "features.zarr", where / "features.zarr")
    shutil.copytree(small_run / "run", folder / "runs" / "theirs")
    shutil.copytree(small_run / "videos", folder / "videos")
    shutil.copy(small_run / "run" / "members" / "0" / "detector.safetensors", outside / "net.pth")
    shutil.copy(small_run / "videos" / "v1.mp4", outside / "private.mp4")
    shutil.copy(small_run / "labels.csv", outside / "labels.csv")
    (folder / "link").symlink_to(outside)
    (folder / "segments.csv").write_text("video,start_frame,end_frame\nv1,0,20\nv3,0,20\n")
    return folder


@pytest.fixture
def edited(project):
    """Write the run with other values in its card: path of a value -> value; return its folder."""

    def write(name, values):
        folder = project / "runs" / name
        shutil.copytree(project / "runs" / "theirs", folder)
        card = json.loads((folder / "card.json").read_text())
        for path, value in values.items():
            *above, last = path.split(".")
            part = card
            for key in above:
                part = part[int(key)] if isinstance(part, list) else part[key]
            part[last] = value
        (folder / "card.json").write_text(json.dumps(card))
        return folder

    return write


MADE = "members.0.streams.0.provenance"


def test_no_path_in_a_card_opens_anything_outside_of_its_project(watched, edited, project):
    outside, video = project.parent / "outside", project / "videos" / "v0.mp4"
    stores = [str(outside / "features.zarr"), "../outside/features.zarr", "link/features.zarr"]
    measured = ["--segments", "segments.csv", "--split", "train"]
    evaluate = [
        ["evaluate", edited(f"store{i}", {"store": store}), *measured]
        for i, store in enumerate(stores)
    ]
    weights = [str(outside / "net.pth"), "../outside/net.pth", "link/net.pth"]
    runs = [edited(f"w{i}", {f"{MADE}.weights.name": name}) for i, name in enumerate(weights)]
    commands = [
        *evaluate,
        *(["score", video, "--detector", run] for run in runs),
        *(["stream", video, "--detector", run] for run in runs),
        # names of arrays are parts of paths, too
        *(
            ["score", "--store", "features.zarr", "--detector", edited(f"a{i}", {name: array})]
            for i, array in enumerate(["visual/../../../outside/net", f"visual/{outside}"])
            for name in ["members.0.streams.0.name"]
        ),
    ]
    n_refused = len(commands)
    # a card may say where its labels and its initial weights were; nothing needs them any more
    said = {"labels": str(outside / "labels.csv"), "training.weights": str(outside / "net.pth")}
    honest = edited("said", {**said, "store": "features.zarr"})
    commands += [
        ["evaluate", honest, *measured],
        ["score", video, "--detector", honest],
    ]
    codes, opened, err = watched(*commands)
    assert opened == []
    assert codes == [2] * n_refused + [0, 0], err
    assert "Traceback" not in err
    assert err.count("not in its project folder") == len(stores)
    assert err.count("which are not known here; name them, if you trust them") == 6


def test_a_store_shows_no_file_but_those_that_it_was_made_of(watched, project):
    """A stranger's store can name any file as its video; a report would show its pictures."""
    outside, named = project.parent / "outside", project / "videos" / "v1.mp4"
    store = FeatureStore.open(project / "features.zarr")
    report = ["score", "--store", "features.zarr", "--detector", "runs/theirs", "--out", "out"]
    source = store.record("v1").source
    assert os.path.exists(source)  # of the session's fixture, outside of the project
    _rename_source(project / "features.zarr" / "v1", str(outside / "private.mp4"))
    (outside / "private.mp4").write_bytes(named.read_bytes() + b"more")
    codes, opened, err = watched([*report, "-f", "html"], [*report, "-f", "mp4"])
    assert opened == []
    assert codes == [0, 2], err
    assert "private.mp4 is not there as it was" in err
    shutil.copy(named, outside / "private.mp4")  # it is the video: moved, and shown
    codes, opened, err = watched([*report, "-f", "mp4"])
    assert (codes, opened != []) == ([0], True), err


def _rename_source(folder, source):
    from vad.store.metadata import add_checksums

    document = json.loads((folder / "zarr.json").read_text())
    document["attributes"]["source"] = source
    document["attributes"].pop("seal")
    (folder / "zarr.json").write_text(json.dumps(document))
    add_checksums(folder)


def test_offline_holds_for_every_command_that_reads_a_run(watched, edited, project, monkeypatch):
    """The cards name weights that are known here and not on this machine."""
    monkeypatch.setenv("VAD_CACHE", str(project / "cache"))
    monkeypatch.setenv("HF_HOME", str(project / "hf"))
    video = project / "videos" / "v0.mp4"
    recipes = {"i3d": "pytorchvideo", "timesformer": "timesformer"}
    names = {"i3d": "fair-32x2", "timesformer": "facebook/timesformer-base-finetuned-k400"}
    runs = [
        edited(
            backbone,
            {
                f"{MADE}.backbone": backbone,
                f"{MADE}.weights.name": names[backbone],
                f"{MADE}.recipe.name": recipes[backbone],
                f"{MADE}.crop_set": "center",
                f"{MADE}.tail": "repeat-last",
            },
        )
        for backbone in recipes
    ]
    commands = [[*c, "--detector", r] for r in runs for c in (["score", video], ["stream", video])]
    bucket, common = "s3://bucket/features.zarr", ["--segments", "segments.csv"]
    commands += [
        ["evaluate", "runs/theirs", *common, "--store", bucket],
        ["score", "--store", bucket, "--detector", "runs/theirs"],
        ["score", video, "--store", bucket, "--detector", "runs/theirs"],
        ["extract", video, "--store", bucket],
        ["caption", bucket],
        ["stream", "rtsp://192.0.2.1/live", "--detector", "runs/theirs"],
        ["ui", "--detector", "nowhere"],
        ["evaluate", "runs/theirs", *common, "--store", "features.zarr", "--split", "train"],
    ]
    codes, opened, err = watched(*([*command, "--offline"] for command in commands))

    assert opened == []
    assert codes == [2] * 11 + [0], err
    assert err.count("no connection may be opened") == 4
    assert err.count("--offline opens no network connection, and") == 6
    assert "nowhere is no run" in err


def test_the_page_is_offline_if_it_is_told_to_be(edited, project, monkeypatch):
    from vad.stages.pipelines.ui import worker

    monkeypatch.setenv("VAD_CACHE", str(project / "cache"))
    connected = []
    monkeypatch.setattr("socket.socket.connect", lambda _, address: connected.append(address))
    run = edited(
        "i3d",
        {
            f"{MADE}.backbone": "i3d",
            f"{MADE}.weights.name": "fair-32x2",
            f"{MADE}.recipe.name": "pytorchvideo",
            f"{MADE}.crop_set": "center",
        },
    )
    monkeypatch.chdir(project)
    with pytest.raises(UsageError, match="no connection may be opened"):
        worker.ACTIONS["score"]({"detector": str(run), "device": "cpu", "offline": True})
    assert connected == []
