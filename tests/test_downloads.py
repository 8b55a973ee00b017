"""Pretrained weights: fetched once, whole or not at all, known again, and never when offline.

All connections of these tests are to a server on this machine.
"""

import hashlib
import http.server
import json
import os
import re
import threading
from dataclasses import replace

import pytest

from vad.errors import UsageError
from vad.stages.extract.backbones import KnownWeights
from vad.stages.extract.weights import catalogue
from vad.stages.extract.weights.catalogue import Entry, cached, fetch_entry
from vad.stages.extract.weights.downloads import fetch

CONTENT = bytes(range(256)) * 40
VERSION = "Wed, 21 Oct 2015 07:28:00 GMT"
COMMIT = "c" * 40


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT as any *.pkl, and a model as the hub would; notes what it was asked.

    `breaks_after`: bytes after which it hangs up, once. `version`: of the file, or None.
    """

    breaks_after: int | None = None
    version: str | None = VERSION

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.repository = {"config.json": b"{}", "model.safetensors": b"tensors"}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        if self.path.startswith("/api/models/"):
            return self.send(json.dumps(self.described("/tree/" in self.path)).encode())
        if "/resolve/" in self.path:
            name = self.path.rpartition("/")[2]
            headers = {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT}
            return self.send(self.server.repository[name], **headers)
        if self.path == "/gone.pkl":
            return self.send(b"", 404)
        version = {"Last-Modified": self.server.version} if self.server.version else {}
        start = int((self.headers.get("Range") or "=0-").partition("=")[2].rstrip("-"))
        if not start or self.headers.get("If-Range") != self.server.version:
            return self.send(CONTENT, **version)
        if start == len(CONTENT):
            return self.send(b"", 416)
        return self.send(CONTENT[start:], 206, **version)

    do_HEAD = do_GET

    def described(self, as_tree):
        """The model, or the files of it, as the hub tells them."""
        names = self.server.repository
        if as_tree:
            return [{"type": "file", "path": n, "size": len(names[n]), "oid": n} for n in names]
        return {"id": "a/b", "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}

    def send(self, content, status=200, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        broken, self.server.breaks_after = self.server.breaks_after, None
        if self.command == "GET":
            self.wfile.write(content[:broken])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("VAD_CACHE", str(tmp_path))
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def net(server):
    return KnownWeights("net", "MIT", f"{server.address}/net.pkl")


def test_weights_are_downloaded_once_and_known_again(net, server, tmp_path):
    path = fetch(net)
    assert path == tmp_path / "weights" / "net.pkl"
    assert path.read_bytes() == CONTENT
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "weights" / "net.pkl.sha256").read_text() == f"{sha256}  net.pkl\n"
    assert fetch(net, offline=True) == fetch(net) == path
    assert len(server.asked) == 1
    path.write_bytes(b"another")
    with pytest.raises(UsageError, match="net.pkl is not the file it was.*delete both to download"):
        fetch(net)


def test_a_file_put_there_by_hand_is_known_again(net, server, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "net.pkl").write_bytes(b"by hand")
    fetch(net, offline=True)
    assert (tmp_path / "weights" / "net.pkl").read_bytes() == b"by hand"
    assert (tmp_path / "weights" / "net.pkl.sha256").exists()
    assert server.asked == []


def broken_off(net, server, n_bytes):
    server.breaks_after = n_bytes
    with pytest.raises(
        UsageError, match=f"ended after {n_bytes} of {len(CONTENT)} bytes; try again"
    ):
        fetch(net)


def test_a_download_that_broke_off_goes_on(net, server, tmp_path):
    broken_off(net, server, 3000)
    assert not (tmp_path / "weights" / "net.pkl").exists()
    server.breaks_after = 2000
    with pytest.raises(UsageError, match=f"ended after 5000 of {len(CONTENT)}"):
        fetch(net)
    assert fetch(net).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=3000-", "bytes=5000-"]
    assert sorted(p.name for p in (tmp_path / "weights").iterdir()) == ["net.pkl", "net.pkl.sha256"]


@pytest.mark.parametrize("version", ["Thu, 22 Oct 2015 07:28:00 GMT", None])
def test_a_part_of_another_version_is_thrown_away(net, server, tmp_path, version):
    broken_off(net, server, 3000)
    part = tmp_path / "weights" / ".net.pkl.part"
    before = part.stat()
    part.write_bytes(b"x" * 3000)  # what an older version began with
    os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns))
    server.version = version
    assert fetch(net).read_bytes() == CONTENT


def test_a_server_without_versions_is_asked_from_the_start(net, server, tmp_path):
    server.version = None
    broken_off(net, server, 3000)
    assert list((tmp_path / "weights").iterdir()) == []
    assert fetch(net).read_bytes() == CONTENT


def test_a_part_that_was_whole_already_is_fetched_anew(net, server, tmp_path):
    broken_off(net, server, 3000)
    part = tmp_path / "weights" / ".net.pkl.part"
    before = part.stat()
    part.write_bytes(b"?" * len(CONTENT))
    os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert fetch(net).read_bytes() == CONTENT


def test_two_that_want_the_same_file_at_once_both_get_it_whole(net, python, tmp_path):
    code = f"""
from vad.stages.extract.backbones import KnownWeights
from vad.stages.extract.weights.downloads import fetch
print(len(fetch(KnownWeights("net", "MIT", {net.source!r})).read_bytes()))
"""
    both = [python.start("-c", code) for _ in range(2)]
    assert [p.communicate(timeout=60)[0] for p in both] == [f"{len(CONTENT)}\n"] * 2
    assert sorted(p.name for p in (tmp_path / "weights").iterdir()) == ["net.pkl", "net.pkl.sha256"]


@pytest.mark.parametrize(
    ("file", "offline", "message"),
    [
        ("gone.pkl", False, "could not download .*gone.pkl: HTTP Error 404"),
        ("net.pkl", True, "no connection may be opened; fetch http.*net.pkl elsewhere and put it"),
    ],
)
def test_what_cannot_be_had_leaves_nothing(net, tmp_path, file, offline, message):
    wanted = replace(net, source=net.source.replace("net.pkl", file))
    with pytest.raises(UsageError, match=message):
        fetch(wanted, offline=offline)
    assert not list(tmp_path.rglob("*.pkl*"))


# --- models of the hub


@pytest.fixture
def model(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    return Entry("backbone x", 8, KnownWeights("a/b", "MIT", "https://huggingface.co/a/b"))


@pytest.mark.parametrize(
    ("repository", "wanted"),
    [
        (
            ["config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "vocab.txt"],
            ["config.json", "model.safetensors", "vocab.txt"],
        ),
        (["config.json", "pytorch_model.bin", "README.md"], ["config.json", "pytorch_model.bin"]),
    ],
)
def test_of_a_model_on_the_hub_one_kind_of_tensors_is_fetched(
    model, server, tmp_path, repository, wanted
):
    server.repository = {name: name.encode() for name in repository}
    assert cached(model, tmp_path) is None
    with pytest.raises(UsageError, match="no connection may be opened; download https://hugg.*a/b"):
        fetch_entry(model, offline=True, cache=tmp_path)
    assert server.asked == []
    folder = fetch_entry(model, cache=tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == wanted
    n_asked = len(server.asked)
    assert cached(model, tmp_path) == fetch_entry(model, cache=tmp_path) == folder
    assert len(server.asked) == n_asked


def test_a_hub_that_does_not_answer_is_told(model, server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="could not download https://huggingface.co/a/b: "):
        fetch_entry(model, cache=tmp_path)


# --- the commands


def test_download_and_models_tell_what_is_here(vad, net, monkeypatch, tmp_path):
    entry = Entry("backbone i3d", 2048, net)
    monkeypatch.setattr(catalogue, "_entries", lambda: iter([entry]))
    assert "not here: vad download net" in vad("models")[1]
    code, out, _ = vad("download", "net", "--quiet")
    assert (code, out) == (0, f"net: {tmp_path}/weights/net.pkl (licence: MIT)\n")
    assert f"{tmp_path}/weights/net.pkl" in vad("models")[1]
    (listed,) = json.loads(vad("models", "--json")[1])["weights"]
    assert listed["n_bytes"] == len(CONTENT)
    assert (listed["dim"], listed["licence"], listed["source"]) == (2048, "MIT", net.source)
    code, out, err = vad("download", "--all", "--cache", tmp_path / "other", "--quiet")
    assert (code, out) == (0, f"net: {tmp_path}/other/weights/net.pkl (licence: MIT)\n")
    assert f"VAD_CACHE={tmp_path}/other" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "name what to fetch, or give --all; see: vad models"),
        (["fair-32x2", "--all"], "name what to fetch, or give --all"),
        (["fair-32x1"], "no weights named 'fair-32x1'; .*did you mean 'fair-32x2'"),
        (["fair-32x2", "--offline"], "no connection may be opened; fetch https.*32x2.* elsewhere"),
    ],
)
def test_wrong_names_and_what_is_not_here_are_told(vad, tmp_path, monkeypatch, args, message):
    monkeypatch.setenv("VAD_CACHE", str(tmp_path))
    code, out, err = vad("download", *args)
    assert (code, out) == (2, "")
    assert re.search(message, err)


NO_SOCKETS = """
import json, socket, sys

def forbid(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        if event != "socket.connect" or args[0].family != socket.AF_UNIX:
            print("OPENED", event, args[1:], flush=True)

sys.addaudithook(forbid)
from vad.stages.pipelines.cli import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["vad", *command]
    try:
        main()
    except SystemExit as done:
        print("EXIT", done.code or 0, flush=True)
"""


def test_offline_opens_no_socket(make_video, python, tmp_path, monkeypatch):
    monkeypatch.setenv("VAD_CACHE", str(tmp_path / "vad"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    video, store = str(make_video("a.mp4", 16)), str(tmp_path / "s.zarr")
    extract = ["extract", video, "--store", store, "--offline", "--quiet"]
    commands = [
        ["models"],
        ["download", "--all", "--offline"],
        [*extract, "--backbone", "timesformer"],
        [*extract, "--backbone", "i3d"],
        [*extract, "--workers", "1"],
    ]
    done = python.run("-c", NO_SOCKETS, json.dumps(commands), timeout=120)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("OPENED")] == []
    assert [line for line in lines if line.startswith("EXIT")] == [
        f"EXIT {code}" for code in (0, 2, 2, 2, 0)
    ]
