"""Checks 6, 27, 28 and 30: files and names that want something else than to be read."""

import ast
import contextlib
import json
import os
import pickle
import resource
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vad.errors import UsageError, VadError
from vad.stages.extract.decoders.video import probe
from vad.stages.extract.sources import find_sources
from vad.stages.extract.weights.checkpoint import read_checkpoint
from vad.stages.train.run import Run
from vad.store import FeatureStore, key_of

ROOT = Path(__file__).resolve().parents[2]


# --- check 6: foreign content


@pytest.fixture
def listener():
    """A server that notes whether anybody connected."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen = []
        server.setblocking(False)

        def connections():
            with contextlib.suppress(BlockingIOError):
                seen.append(server.accept())
            return seen

        yield server.getsockname()[1], connections


@pytest.mark.parametrize(
    "content",
    [
        "ffconcat version 1.0\nfile http://127.0.0.1:{port}/x.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:{port}/x.ts\n#EXT-X-ENDLIST\n",
        "<MPD><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>",
        "v=0\nm=video {port} RTP/AVP 96\nc=IN IP4 127.0.0.1\n",
        "[playlist]\nFile1=http://127.0.0.1:{port}/x.mp4\n",
    ],
    ids=["ffconcat", "m3u8", "dash", "sdp", "pls"],
)
def test_check_06_a_playlist_opens_no_connection(tmp_path, listener, content):
    port, connections = listener
    path = tmp_path / "x.mp4"
    path.write_text(content.format(port=port))
    with pytest.raises(VadError, match="no video format"):
        probe(path)
    assert connections() == []


# --- check 27: pickles


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def run(small_run, tmp_path):
    """A trained run that may be damaged."""
    return Path(shutil.copytree(small_run / "run", tmp_path / "run"))


@pytest.mark.parametrize("name", ["members/0/detector.safetensors", "card.json"])
def test_check_27_a_pickle_in_a_run_is_refused_and_not_run(run, tmp_path, name):
    canary = tmp_path / "canary"
    (run / name).write_bytes(pickle.dumps(Payload(canary)))
    with pytest.raises(VadError):
        Run.open(run)
    assert not canary.exists()


def test_check_27_nothing_in_the_tree_unpickles():
    for folder in ("src/vad", "extract", "train", "infer", "pipelines", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
                    given = (node.arg, node.value.value)
                    assert given not in (("weights_only", False), ("allow_pickle", True)), path
    rules = (ROOT / "pyproject.toml").read_text()
    assert all(f'"{rule}"' in rules for rule in ("S102", "S301", "S307", "S506", "S602"))


# --- check 28: safetensors


def tensors(header, data=b"\0" * 16, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def row(start, end, shape=(2,)):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "content",
    [
        tensors({"w": row(0, 8)}, length=10**6),
        tensors({"w": row(0, 8)}, length=2**63),
        tensors({"a": row(0, 8), "b": row(4, 12)}),
        tensors({"a": row(0, 4, (1,)), "b": row(8, 12, (1,))}),
        tensors({"w": row(0, 16, (4,))}, data=b"\0" * 8),
        tensors({"w": row(0, 8, (2**40,))}),
        tensors(b"{not json"),
        b"",
    ],
    ids=[
        *("header-too-long", "header-2-63", "overlap", "hole", "cut-off", "huge-shape"),
        *("no-json", "empty"),
    ],
)
@pytest.mark.parametrize("what", ["weights", "detector"])
def test_check_28_lying_safetensors_are_refused_in_little_memory(run, what, content):
    path = run / "members" / "0" / "detector.safetensors"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError):
        Run.open(run) if what == "detector" else read_checkpoint(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


# --- check 30: names

NAMES = [
    *("../x", "/abs", "a/../b", "a//b", "new\nline", "-i", "zarr.json", "a/zarr.json", ".", ".."),
    *(
        "caf\u00e9",
        "cafe\u0301",
        "Twin",
        "twin",
        "x" * 255,
        "x" * 254 + "y",
        ".scratch",
        "a%2Fb",
        "a/b",
    ),
    *("con", "%2E", "~", "a\\b", "\u202egpj"),
]


def test_check_30_every_name_is_a_video_of_its_own_inside_the_store(tmp_path, put):
    path = tmp_path / "f.zarr"
    keys = {name: key_of(name) for name in NAMES}
    assert len(set(keys.values())) == len(NAMES)
    assert len({key.lower() for key in keys.values()}) == len(NAMES) - 1  # Twin and twin
    for number, name in enumerate(NAMES):
        put(path, name, seed=number)
    store = FeatureStore.open(path)
    assert store.ids() == sorted(NAMES)
    for number, name in enumerate(NAMES):
        rows = np.random.default_rng(number).random((3, 2, 4)).astype(np.float16)
        assert np.array_equal(store.read(name, "visual/i3d"), rows)
    assert [p.name for p in tmp_path.iterdir()] == ["f.zarr"]
    assert all(p.is_dir() for p in path.iterdir() if p.name != "zarr.json")


def test_check_30_links_to_folders_are_followed_and_those_in_circles_end(
    tmp_path, make_video, extract_null
):
    make_video("outside/b.mp4", 16)
    video = make_video("videos/a.mp4", 16)
    (tmp_path / "videos" / "loop").symlink_to(tmp_path / "videos")
    (tmp_path / "videos" / "dangling.mp4").symlink_to(tmp_path / "nothing.mp4")
    (tmp_path / "videos" / "round.mp4").symlink_to(tmp_path / "videos" / "round.mp4")
    (tmp_path / "videos" / "out").symlink_to(tmp_path / "outside")
    assert [s.id for s in find_sources([video.parent])] == ["a", "dangling", "out/b", "round"]
    outcome = extract_null(video.parent, tmp_path / "f.zarr")
    assert sorted(outcome.done) == ["a", "out/b"]
    assert {v: e.reason for v, e in outcome.failed.items()} == {
        "dangling": "unreadable",
        "round": "unreadable",
    }


def test_check_30_the_same_stem_in_two_folders_is_two_videos(make_video, tmp_path, extract_null):
    for name in ("one/a.mp4", "two/a.mp4", "two/caf\u00e9.mp4", "two/cafe\u0301.mp4"):
        make_video(f"videos/{name}", 16)
    outcome = extract_null(tmp_path / "videos", tmp_path / "f.zarr")
    assert sorted(outcome.done) == ["one/a", "two/a", "two/cafe\u0301", "two/caf\u00e9"]


# --- check 35


def test_check_35_help_imports_nothing_but_the_command_line_and_ourselves():
    # modules that an interpreter imports by itself, such as sitecustomize, do not count
    code = """import sys
before = set(sys.modules)
from vad.stages.pipelines.cli import main
sys.argv = ['vad', '--help']
try:
    main()
except SystemExit:
    tops = {name.partition('.')[0] for name in set(sys.modules) - before}
    print(*tops - sys.stdlib_module_names, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name for name in done.stderr.split() if not name.startswith("_")}
    draws_help = {"markdown_it", "mdurl", "pygments", "rich", "shellingham", "typer"}
    assert {"vad", "typer"} <= imported
    assert imported <= {"vad", "annotated_doc", "attr", *draws_help}
