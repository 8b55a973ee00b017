"""How a command ends that is terminated, has no standard streams, or finds the disk full."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from vad.files import write_text
from vad.stages.pipelines.watch.events import Alert, Journal
from vad.store import FeatureStore
from vad.store.verify import verify


def wait_for(pattern, folder):
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_terminated_extraction_leaves_a_whole_store_and_no_temporary_file(
    python, make_video, tmp_path
):
    first, store, temporary = make_video("videos/00.mp4", 300), tmp_path / "f.zarr", tmp_path / "t"
    for number in range(1, 12):
        os.link(first, tmp_path / "videos" / f"{number:02d}.mp4")
    temporary.mkdir()
    process = python.start(
        *("-m", "vad", "extract", tmp_path / "videos", "--store", store, "--workers", "1"),
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    wait_for(".scratch/*/visual", store)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in err
    assert list(temporary.iterdir()) == []
    assert len(FeatureStore.open(store).ids()) < 12
    assert verify(store, quiet=True).faults == []
    assert list((store / ".scratch").iterdir()) == []


def test_a_terminated_scoring_says_so_in_one_line_and_leaves_no_temporary_file(
    python, small_run, make_video, tmp_path
):
    video, temporary = make_video("in/00.mp4", 300), tmp_path / "t"
    temporary.mkdir()
    for number in range(1, 12):
        os.link(video, tmp_path / "in" / f"{number:02d}.mp4")
    score = ("-m", "vad", "score", tmp_path / "in", "--detector", small_run / "run")
    process = python.start(
        *(*score, "--out", tmp_path / "out"), env={**os.environ, "TMPDIR": str(temporary)}
    )
    wait_for("**/visual", temporary)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "vad: terminated"
    assert list(temporary.iterdir()) == []


def test_a_terminated_stream_ends_with_its_last_line(python, small_run, make_video):
    video = make_video("v.mp4", 300)
    process = python.start("-m", "vad", "stream", video, "--detector", small_run / "run", "--loop")
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in err
    assert json.loads(out.splitlines()[-1])["type"] == "end"


@pytest.mark.parametrize("command", ["stream", "watch"])
def test_ctrl_c_while_a_live_command_loads_ends_it_at_once(
    small_run, make_video, tmp_path, command
):
    video, run = make_video("v.mp4", 16), small_run / "run"
    config = tmp_path / "cameras.toml"
    text = f'[cameras.gate]\naddress = "{video}"\nrun = "{run}"\n[sinks.lines]\ntype = "jsonl"\n'
    config.write_text(text)
    (tmp_path / "alerts").mkdir()
    journal = Journal(tmp_path / "alerts")
    left_open = Alert("gate-1", "open", "gate", "run", "2026-01-01")  # is told when a watch begins
    journal.add(left_open, ())
    journal.close()
    given = (config,) if command == "watch" else (video, "--detector", run)
    process = subprocess.Popen(  # no fork, which would have loaded before the signal comes
        [sys.executable, "-m", "vad", command, *given],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert any("device cpu" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err


def test_a_training_cannot_be_started_twice_and_keeps_its_state_when_it_is_terminated(
    python, small_run, tmp_path, vad
):
    train = ("train", small_run / "features.zarr", "--labels", small_run / "labels.csv")
    train += ("--detector", "rtfm", "--out", tmp_path / "run", "--epochs")
    first = python.start("-m", "vad", *train, "100000")
    wait_for("history.csv", tmp_path / "run")
    code, _, err = vad(*train, "1")
    assert code == 2
    assert f"vad: another process is training into {tmp_path / 'run'}; choose another" in err
    first.send_signal(signal.SIGTERM)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 143
    assert "Traceback" not in err
    assert (tmp_path / "run" / "state.safetensors").exists()
    assert not (tmp_path / "run" / "card.json").exists()
    assert list(tmp_path.glob(".run.lock")) == []


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_standard_streams_change_no_byte_of_a_store(python, small_run, tmp_path, closed):
    store = tmp_path / "f.zarr"
    extract = ("-m", "vad", "extract", small_run / "videos" / "v0.mp4", "--store", store)
    done = python.run(*extract, closed=closed)
    assert done.returncode == 0
    report = verify(store, quiet=True)
    assert (report.n_videos, report.faults) == (1, [])


@contextmanager
def full_disk():
    """No file of this process may become larger than 20 kB.

    Python would cut off the compiled modules that it writes, which then cannot be imported.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = False


def test_training_on_a_full_disk_names_the_folder_and_leaves_no_run(small_run, tmp_path, vad):
    train = ("train", small_run / "features.zarr", "--labels", small_run / "labels.csv")
    with full_disk():
        code, _, err = vad(*train, "--detector", "rtfm", "--out", tmp_path / "run", "--epochs", "1")
    assert code == 70
    assert "Traceback" not in err
    assert str(tmp_path / "run") in err.splitlines()[-1]
    assert not (tmp_path / "run" / "card.json").exists()


def test_scoring_on_a_full_disk_names_the_folder(small_run, tmp_path, vad):
    score = ("score", "--store", small_run / "features.zarr", "--detector", small_run / "run")
    with full_disk():
        code, _, err = vad(*score, "--out", tmp_path / "scores")
    assert code == 70
    assert "Traceback" not in err
    assert str(tmp_path / "scores") in err.splitlines()[-1]
    assert list((tmp_path / "scores").glob(".*")) == []


def test_files_of_killed_processes_are_swept_by_the_next_one(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from vad.files import committed\n"
        "with committed(Path('a.json')) as part:\n"
        "    part.write_text('{'); print(part.name, flush=True); sys.stdin.read()"
    )
    killed, busy = (
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    )
    left, used = (process.stdout.readline().strip() for process in (killed, busy))
    killed.kill()
    killed.communicate()
    assert (tmp_path / left).exists()
    write_text(tmp_path / "b.txt", "b")
    assert not (tmp_path / left).exists()
    assert (tmp_path / used).exists()  # of a process that is still writing
    busy.communicate("")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.txt"]


def test_a_store_is_made_where_a_killed_process_was_making_it(tmp_path):
    (tmp_path / "f.zarr").mkdir()
    (tmp_path / "f.zarr" / f".{socket.gethostname()}-99999999-0.part").write_text("{")
    assert FeatureStore.create(tmp_path / "f.zarr").ids() == []
    assert [path.name for path in (tmp_path / "f.zarr").iterdir()] == ["zarr.json"]


def test_a_folder_with_the_scores_of_another_run_is_told(vad, small_run, tmp_path):
    shutil.copytree(small_run / "run", tmp_path / "other")
    out = tmp_path / "scores"
    told = {}
    for name, run in (("first", small_run / "run"), ("again", small_run / "run")):
        score = ("score", "--store", small_run / "features.zarr", "--out", out, "-f", "csv")
        _, _, told[name] = vad(*score, "--detector", run)
    _, _, told["other"] = vad(*score, "--detector", tmp_path / "other")
    _, _, told["no files"] = vad(*score[:-1], "", "--detector", small_run / "run")
    said = f"{out} holds scores of another run, {small_run / 'run'}: files of the same videos"
    assert {name for name, err in told.items() if "another run" in err} == {"other"}
    assert said in told["other"]


def test_a_training_into_a_folder_with_other_results_tells_them(vad, small_run, tmp_path):
    shutil.copytree(small_run / "run", tmp_path / "run")
    train = ("train", small_run / "features.zarr", "--labels", small_run / "labels.csv")
    train += ("--out", tmp_path / "run", "--epochs", 1, "--quiet", "--overwrite")
    _, _, err = vad(*train)
    assert "not of this run" not in err
    (tmp_path / "run" / "evaluation-test").mkdir()
    _, _, err = vad(*train)
    assert f"{tmp_path / 'run'} holds what is not of this run: evaluation-test" in err
