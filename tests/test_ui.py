"""The page of a project over real HTTP: the files of the commands, and nothing for strangers."""

import contextlib
import csv
import http.client
import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from urllib.parse import quote

import pytest

import vad as verbs
from vad.errors import UsageError
from vad.labels import Label, read_labels, write_labels
from vad.stages.infer.writers import save
from vad.stages.pipelines.ui import worker
from vad.stages.pipelines.ui.access import is_loopback
from vad.stages.pipelines.ui.folder import ProjectFolder, preview_files
from vad.stages.pipelines.ui.previews import make_preview
from vad.stages.pipelines.ui.server import serve
from vad.stages.pipelines.ui.uploads import safe_name

QUICK = "[extract]\nbackbone = 'efficientnet-lite0'\n"  # that of `small_run`


class Browser:
    """Asks a server; every request is a connection of its own."""

    def __init__(self, page, folder):
        self.page, self.folder = page, folder
        self.headers = {"X-Vad": page.access.secret}  # what our own pages send

    def ask(self, method, path, *, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.page.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def post(self, path, value=None, **headers):
        body = value if isinstance(value, bytes) else json.dumps(value or {})
        status, _, answer = self.ask("POST", path, body=body, headers={**self.headers, **headers})
        return status, json.loads(answer)

    def done(self, kind, **settings):
        """Begin a job; return it when it has ended."""
        status, job = self.post(f"/api/jobs/{kind}", settings)
        assert status == 202, job
        return self.ended(job["job"])

    def ended(self, number):
        while True:
            job = next(job for job in self.page.jobs.all() if job.number == number)
            if job.has_ended:
                return job
            time.sleep(0.05)

    def raw(self, data):
        """Send bytes as they are; return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.page.port), 30) as connection:
            connection.sendall(data)
            connection.settimeout(30)
            parts = []
            with contextlib.suppress(ConnectionResetError):  # it did not read the rest
                while part := connection.recv(65536):
                    parts.append(part)
            return b"".join(parts)

    def files(self):
        return sorted(path.name for path in (self.folder / "videos").iterdir())


@pytest.fixture(scope="module")
def start():
    """Start a page of a folder; all end with the module."""
    pages, threads = [], []

    def begin(folder, **settings):
        ready = threading.Event()

        def listen(page):
            pages.append(page)
            ready.set()

        settings = {"port": 0, "device": "cpu", "ready": listen, **settings}
        threads.append(threading.Thread(target=serve, args=(folder,), kwargs=settings))
        threads[-1].start()
        assert ready.wait(60)
        return Browser(pages[-1], folder)

    yield begin
    for page in pages:
        page.shutdown()
    for thread in threads:
        thread.join()


@pytest.fixture(scope="module")
def project(tmp_path_factory, small_run):
    """A project of four videos with features and a run, which are those of `small_run`."""
    folder = tmp_path_factory.mktemp("ui") / "project"
    shutil.copytree(small_run / "videos", folder / "videos")
    shutil.copytree(small_run / "run", folder / "runs" / "small")
    shutil.copytree(small_run / "features.zarr", folder / "features.zarr")
    (folder / "vad.toml").write_text(QUICK)
    return folder


@pytest.fixture(scope="module")
def browser(start, project):
    """The page of the project, which tests of this module share."""
    return start(project, max_bytes=10**6)


@pytest.fixture(scope="module")
def scored(browser):
    """The page after the job that scores the four videos; each is one event, for the reviews."""
    job = browser.done("score", videos=["v0", "v1", "v2", "v3"])
    assert job.state == "done", job.says
    return browser


@pytest.fixture
def files(tmp_path, small_run):
    """A small project of its own, without a server."""
    shutil.copytree(small_run / "videos", tmp_path / "videos")
    return ProjectFolder(tmp_path)


# --- what it does


def test_videos_that_are_scored_have_the_scores_of_the_command(scored, small_run, tmp_path):
    (expected,) = save(
        verbs.score(small_run / "videos" / "v3.mp4", detector=small_run / "run"), tmp_path, ["json"]
    )
    wanted = json.loads(expected.read_text())
    status, headers, body = scored.ask("GET", "/scores/v3.json")
    assert (status, headers["content-type"]) == (200, "application/json")
    found = json.loads(body)
    for part in ("frames", "snippets", "events", "threshold", "peak"):
        assert json.dumps(found[part]) == json.dumps(wanted[part])
    status, headers, page = scored.ask("GET", "/scores/v3.html")
    assert status == 200
    assert headers["content-security-policy"] == "sandbox allow-scripts allow-downloads"
    assert b"Anomaly report" in page


def test_a_video_that_is_added_gets_pictures_and_is_kept_under_a_name_without_markup(browser):
    video = (browser.folder / "videos" / "v0.mp4").read_bytes()
    name = "<b>x</b>.mp4"
    try:
        status, job = browser.post(f"/api/videos?name={quote(name, safe='')}", video)
        assert status == 201
        browser.ended(job["job"])
        assert (browser.folder / "videos" / "b>.mp4").read_bytes() == video
        page = browser.ask("GET", "/videos")[2].decode()
        assert "<bdi>b&gt;</bdi>" in page
        still = re.search(r'src="(/pictures/b%253E\.jpg[^"]*)"', page)[1]
        assert browser.ask("GET", still)[1]["content-type"] == "image/jpeg"
        again, answer = browser.post(f"/api/videos?name={quote(name, safe='')}", video)
        assert (again, answer["error"]) == (409, "a video called b> is there already")
    finally:
        (browser.folder / "videos" / "b>.mp4").unlink(missing_ok=True)


def test_a_file_called_as_results_are_keeps_its_own(scored):
    video = (scored.folder / "videos" / "v1.mp4").read_bytes()
    before = scored.ask("GET", "/scores/v1.json")[2]
    try:
        status, job = scored.post("/api/videos?name=v1.json", video)
        assert (status, job["name"]) == (201, "v1.json.mp4")
        job = scored.done("score", videos=["v1.json"])
        assert job.state == "done", job.says
        assert scored.ask("GET", "/scores/v1.json")[2] == before
        assert json.loads(scored.ask("GET", "/scores/v1.json.json")[2])["video"] == "v1.json"
        assert scored.ask("GET", "/scores/v1.json.html")[0] == 200
    finally:
        (scored.folder / "videos" / "v1.json.mp4").unlink()


def test_a_file_that_is_no_video_is_told_with_its_reason(browser):
    try:
        _, job = browser.post("/api/videos?name=text.mp4", b"text" * 99)
        job = browser.ended(job["job"])
        assert "1 failed: text: " in job.says
        assert "no video format" in job.says
    finally:
        (browser.folder / "videos" / "text.mp4").unlink()


def test_labels_are_written_beside_what_the_file_holds_and_can_be_undone(browser):
    path = browser.folder / "labels.csv"
    write_labels(path, [Label("v0", 0, split="test"), Label("elsewhere", 1, "fire")])
    change = {"video": "v0", "label": "1", "category": "fight"}
    other = {"video": "v2", "label": "0", "category": ""}
    status, answer = browser.post("/api/labels", {"changes": [change, other]})
    assert status == 200
    with path.open(newline="") as file:
        rows = {row["video"]: row for row in csv.DictReader(file)}
    assert (rows["v0"]["label"], rows["v0"]["category"], rows["v0"]["split"]) == (
        *("1", "fight", "test"),
    )
    assert (rows["v2"]["label"], rows["elsewhere"]["label"]) == ("0", "1")
    assert browser.post("/api/labels", {"changes": answer["before"]})[0] == 200
    assert [(x.video, x.label) for x in read_labels(path)] == [
        *(("v0", 0), ("elsewhere", 1)),
    ]
    path.unlink()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"video": "nowhere", "label": "1"}, 409),
        ({"video": "v0", "label": "2"}, 409),
        ({"video": "v0"}, 400),
        ({"video": 5, "label": "1"}, 400),
    ],
)
def test_labels_that_make_no_sense_are_refused(browser, change, status):
    found, answer = browser.post("/api/labels", {"changes": [change]})
    assert found == status
    assert answer["error"]
    assert not (browser.folder / "labels.csv").exists()


def test_a_labels_file_with_a_mistake_is_told_and_not_touched(browser):
    path = browser.folder / "labels.csv"
    path.write_text("video,label\nv0,5\n")
    assert b"label is &#39;5&#39;; write 0 or 1" in browser.ask("GET", "/label")[2]
    change = {"video": "v0", "label": "1", "category": ""}
    assert browser.post("/api/labels", {"changes": [change]})[0] == 409
    assert path.read_text() == "video,label\nv0,5\n"
    path.unlink()


def test_verdicts_are_written_as_the_report_writes_them(scored):
    document = json.loads((scored.folder / "scores" / "v2.json").read_text())
    document["events"] = [
        dict.fromkeys(document["frames"][0], 0)
        | {"start_frame": 3, "end_frame": 9, "start_s": 0.15, "end_s": 0.45, "peak": 0.9}
        | {"peak_frame": 4, "kind": "fire <b>", "kind_share": 0.8234}
    ]
    (scored.folder / "scores" / "v2.json").write_text(json.dumps(document))
    page = scored.ask("GET", "/results")[2].decode()
    assert 'data-video="v2" data-start="3" data-end="9" data-verdict=""' in page
    assert "<bdi>fire &lt;b&gt;</bdi> 82 %" in page
    event = {"video": "v2", "start_frame": 3, "end_frame": 9}
    assert scored.post("/api/reviews", {**event, "verdict": "confirmed"})[0] == 200
    assert scored.post("/api/reviews", {**event, "verdict": "dismissed"})[0] == 200
    path = scored.folder / "reviews.csv"
    assert path.read_text() == (
        "video,start_frame,end_frame,start_s,end_s,verdict\nv2,3,9,0.15,0.45,dismissed\n"
    )
    assert 'data-verdict="dismissed">' in scored.ask("GET", "/results?show=dismissed")[2].decode()
    assert scored.post("/api/reviews", {**event, "verdict": ""})[0] == 200
    assert not path.exists()
    assert scored.post("/api/reviews", {**event, "end_frame": 8, "verdict": "confirmed"})[0] == 409


def test_what_to_label_next_is_what_the_run_doubts_most(files, make_scores):
    for video, peak in (("v0", 0.9), ("v1", 0.45), ("v2", 0.1)):
        save(make_scores([peak], video=video), files / "scores", ["json"])
    assert [v.id for v in files.to_label(files.videos())] == ["v1", "v0", "v2", "v3"]
    files.set_labels([("v1", "1", "fight")])
    assert [v.id for v in files.to_label(files.videos())] == ["v0", "v2", "v3"]


def test_a_video_shows_a_still_and_a_loop_of_a_few_seconds(make_video, tmp_path):
    import av

    video = make_video("long.mp4", 600, rotation_deg=90)  # 20 s
    make_preview(tmp_path / "pictures", "long", video)
    still, loop = preview_files(tmp_path / "pictures", "long")
    with av.open(str(loop)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (96, 160)
        assert 7.5 <= container.duration / 1e6 <= 8.5
    assert still.stat().st_size > 500


def test_the_page_of_labels_alone_has_no_other(start, project):
    browser = start(project, only_labels=True)
    status, headers, _ = browser.ask("GET", "/")
    assert (status, headers["location"]) == (303, "/label")
    assert browser.ask("GET", "/label")[0] == 200
    assert browser.ask("GET", "/train")[0] == 404


def test_every_page_is_there_and_holds_nothing_from_elsewhere(scored):
    (scored.folder / "cameras.toml").write_text(
        '[cameras.door]\naddress = "rtsp://${ME}:secret@10.0.0.5/live?key=abc"\n'
    )
    for path in ("/videos", "/label", "/train", "/results", "/cameras", "/about"):
        status, headers, body = scored.ask("GET", path)
        assert status == 200, path
        assert b'role="alert"' not in body, path
        assert not re.search(rb'(?:src|href)="(?:https?:)?//', body), path
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
    for name in (
        "page.css",
        "studio.css",
        "studio.js",
        "label.js",
        "videos.js",
        "results.js",
        "cameras.js",
    ):
        status, _, body = scored.ask("GET", f"/static/{name}")
        assert status == 200
        assert b"http" not in body, name
    body = scored.ask("GET", "/cameras")[2]
    assert b"rtsp://10.0.0.5/live" in body
    assert b"secret@" not in body
    assert b"abc" not in body
    (scored.folder / "cameras.toml").unlink()


def test_the_page_of_the_newest_run_is_linked_and_served(scored):
    several = scored.folder / "runs" / "several"
    shutil.copytree(scored.folder / "runs" / "small", several / "seed-0")
    (several / "seed-0" / "card.json").touch()
    (several / "seed-0" / "model-card.html").unlink()
    page = "/runs/several/seed-0/model-card.html"
    assert scored.ask("GET", page)[0] == 404
    assert b"The page of this run" not in scored.ask("GET", "/about")[2]
    verbs.card(several / "seed-0")
    link = f'<a href="{page}">The page of this run</a>'
    assert link in scored.ask("GET", "/about")[2].decode()
    status, headers, body = scored.ask("GET", page)
    assert (status, b"Model card" in body) == (200, True)
    assert headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    for name in ("..", "several/..", ".", "several"):
        assert scored.ask("GET", f"/runs/{name}/model-card.html")[0] == 404
    shutil.rmtree(several)


# --- jobs


def test_a_job_goes_on_without_the_folder_of_temporary_files(
    files, small_run, monkeypatch, tmp_path
):
    shutil.copytree(small_run / "features.zarr", files / "features.zarr")
    said = []

    class Parent:
        def send(self, message):
            said.append(message)

        def tasks(self):
            for kind in ("dance", "prepare"):
                yield {"project": str(files.path), "kind": kind, "settings": {"device": "cpu"}}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    (files / "vad.toml").write_text(QUICK)
    (files / "videos" / "broken.mp4").write_text("no video")
    worker.serve(Parent())
    ends = [message for message in said if "state" in message]
    assert ends[0] == {"state": "failed", "says": "internal error, KeyError: 'dance'"}
    assert ends[1]["says"].startswith("features made of 0 videos; 1 failed: broken: ")
    assert any("broken: no pictures: " in message.get("log", "") for message in said)
    assert {m["words"] for m in said if "words" in m} > {"pictures, 5 of 5 videos"}


def test_the_settings_of_the_folder_hold_for_its_commands_and_its_page(vad, files, monkeypatch):
    monkeypatch.chdir(files.path)
    (files / "vad.toml").write_text("[extract]\nbackbone = 'nothing'\n")
    code, _, err = vad("extract", "videos")
    assert (code, "no backbone named 'nothing'" in err) == (2, True)
    monkeypatch.setattr(worker, "make_previews", lambda folder, sources: ())
    with pytest.raises(UsageError, match="no backbone named 'nothing'"):
        worker.ACTIONS["prepare"]({})


# --- videos of reports


@pytest.fixture(scope="module")
def copy_of_v0(scored):
    """The address of the video of a report, which is larger than reports hold here."""
    before, limit = os.getcwd(), worker.INSIDE_BYTES
    os.chdir(scored.folder)
    worker.INSIDE_BYTES = 1000
    try:
        worker.ACTIONS["score"]({"videos": ["v0"], "device": "cpu"})
    finally:
        os.chdir(before)
        worker.INSIDE_BYTES = limit
    page = scored.ask("GET", "/scores/v0.html")[2].decode()
    assert 'class="preview"' not in page
    return "/scores/" + re.search(r'src="(copies/[\w-]{32}\.mp4)"', page)[1]


def test_a_long_video_is_sent_whole_or_in_parts(scored, copy_of_v0):
    status, headers, whole = scored.ask("GET", copy_of_v0)
    assert (status, headers["content-type"]) == (200, "video/mp4")
    assert headers["accept-ranges"] == "bytes"
    assert whole[4:8] == b"ftyp"
    n, tag = len(whole), headers["etag"]
    for asked, status, told, body in (
        ({"Range": "bytes=0-"}, 206, f"bytes 0-{n - 1}/{n}", whole),
        ({"Range": "bytes=10-19"}, 206, f"bytes 10-19/{n}", whole[10:20]),
        ({"Range": "bytes=-5"}, 206, f"bytes {n - 5}-{n - 1}/{n}", whole[-5:]),
        ({"Range": "bytes=10-19", "If-Range": tag}, 206, f"bytes 10-19/{n}", whole[10:20]),
        ({"Range": "bytes=10-19", "If-Range": '"old"'}, 200, None, whole),
    ):
        found, headers, part = scored.ask("GET", copy_of_v0, headers=asked)
        assert (found, headers.get("content-range"), part) == (status, told, body), asked
    status, headers, _ = scored.ask("GET", copy_of_v0, headers={"Range": f"bytes={n}-"})
    assert (status, headers["content-range"]) == (416, f"bytes */{n}")
    assert scored.ask("GET", copy_of_v0, headers={"Host": "evil.example"})[0] == 403
    assert scored.ask("GET", "/scores/copies/v0.name")[0] == 404


def test_the_name_of_a_copy_opens_nothing_else(start, project, copy_of_v0):
    browser = start(project, host="0.0.0.0")
    status, headers, _ = browser.ask("GET", copy_of_v0)  # a player in a sandbox has no cookie
    assert status == 200
    assert "set-cookie" not in headers
    assert browser.ask("GET", "/scores/copies/" + "x" * 32 + ".mp4")[0] == 404
    assert browser.ask("GET", "/scores/copies/..%2fv0.json")[0] == 404
    assert browser.ask("GET", "/scores/v0.json")[0] == 403
    assert browser.ask("POST", copy_of_v0, headers=browser.headers)[0] == 403


# --- who may use it


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/videos", {"Host": "evil.example"}, 403),  # a name that was made to point here
        ("GET", "/api/state", {"Host": "127.0.0.1.evil.example"}, 403),
        ("POST", "/api/jobs/prepare", {"X-Vad": ""}, 403),  # a form of another page
        ("POST", "/api/jobs/prepare", {"X-Vad": "1"}, 403),
        ("POST", "/api/jobs/prepare", {"Origin": "http://evil.example"}, 403),
        ("POST", "/api/jobs/prepare", {"Origin": "null"}, 403),
        ("POST", "/api/jobs/prepare", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/api/videos?name=x.mp4", {"Content-Length": "1000001"}, 413),
        ("POST", "/api/videos?name=x.mp4", {"Transfer-Encoding": "chunked"}, 411),
        ("POST", "/api/videos?name=x.mp4", {"Content-Length": "0"}, 400),
        ("GET", "/scores/nothing.json", {}, 404),
        ("GET", "/scores/..%2flabels.csv", {}, 404),
        ("GET", "/scores/%2e%2e", {}, 404),
        ("GET", "/pictures/..%2f..%2flabels.csv", {}, 404),
        ("GET", "/stills/..%2f..%2fruns/card.json", {}, 404),
        ("GET", "/static/..%2fapp.py", {}, 404),
        ("GET", "/../../etc/passwd", {}, 404),
        ("GET", "//etc/passwd", {}, 404),
        ("PUT", "/api/labels", {}, 405),
        ("GET", "/api/labels", {}, 404),
    ],
)
def test_what_may_not_be_asked_is_refused(browser, method, path, headers, status):
    before = browser.files(), len(browser.page.jobs.all())
    sent = {**(browser.headers if method == "POST" else {}), **headers}
    assert browser.ask(method, path, headers=sent)[0] == status
    assert (browser.files(), len(browser.page.jobs.all())) == before


def test_requests_of_odd_shape_are_refused(browser):
    host = b"Host: 127.0.0.1\r\n"
    ours = host + b"X-Vad: " + browser.headers["X-Vad"].encode() + b"\r\nConnection: close\r\n"
    inner = b"POST /api/jobs/prepare HTTP/1.1\r\n" + ours + b"Content-Length: 0\r\n\r\n"
    n_jobs = len(browser.page.jobs.all())
    length = b"Content-Length: %d\r\n\r\n" % len(inner)
    browser.raw(b"GET /videos HTTP/1.1\r\n" + host + b"Connection: close\r\n" + length + inner)
    post = b"POST /api/videos?name=x.mp4 HTTP/1.1\r\n" + ours
    for odd in (
        post + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nabcd",
        post + b"Content-Length: 4\r\nContent-Length: 8\r\n\r\n0\r\n\r\nabcd",
        post + b"Content-Length: +4\r\n\r\nabcd",
        post + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        post + b"Content-Length : 4\r\n\r\nabcd",
        b"GET /videos HTTP/1.1\r\n" + host + b"Host: evil.example\r\nConnection: close\r\n\r\n",
        b"GET /videos HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET /videos HTTP/1.1\r\n" + host + b"X: " + b"a" * 900_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ):
        answer = browser.raw(odd)
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 411", b"HTTP/1.1 501")), odd[:80]
    assert len(browser.page.jobs.all()) == n_jobs
    assert "x.mp4" not in browser.files()


def test_other_machines_need_the_token_and_get_a_session(start, project):
    browser = start(project, host="0.0.0.0")
    token = browser.page.address.split("token=")[1]
    assert len(token) >= 32
    for path in ("/videos", "/api/state", "/?token=", "/?token=" + "x" * len(token)):
        assert browser.ask("GET", path)[0] == 403
    status, headers, _ = browser.ask("GET", f"/?token={token}")
    assert (status, headers["location"]) == (303, "/")  # the token leaves the address
    assert "HttpOnly; SameSite=Strict" in headers["set-cookie"]
    cookie = {"Cookie": headers["set-cookie"].split(";")[0]}
    assert token not in cookie["Cookie"]
    assert browser.ask("GET", "/videos", headers=cookie)[0] == 200
    change = {"method": "POST", "path": "/api/jobs/999/cancel"}
    assert browser.ask(**change, headers=browser.headers)[0] == 403  # no session
    assert browser.ask(**change, headers=cookie)[0] == 403  # not from our page
    assert browser.ask(**change, headers=cookie | browser.headers)[0] == 404
    browser.page.access.sessions.update(dict.fromkeys(browser.page.access.sessions, 0.0))
    assert browser.ask("GET", "/videos", headers=cookie)[0] == 403  # it has ended


def test_a_proxy_is_believed_by_its_address_and_not_by_its_headers(start, project):
    browser = start(project, public="https://vad.example")
    ours = {"Host": "vad.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.1"}
    token = browser.page.address.removeprefix("https://vad.example/?token=")
    assert browser.ask("GET", "/videos", headers=ours)[0] == 403
    assert browser.ask("GET", f"/?token={token}")[0] == 403  # by another name than the proxy's
    forged = {"X-Forwarded-Host": "vad.example"}
    assert browser.ask("GET", f"/?token={token}", headers=forged)[0] == 403
    status, headers, _ = browser.ask("GET", f"/?token={token}", headers=ours)
    assert status == 303
    assert headers["set-cookie"].endswith("; Secure")
    ours |= {"Cookie": headers["set-cookie"].split(";")[0]}
    assert browser.ask("GET", "/videos", headers=ours)[0] == 200
    change = {"method": "POST", "path": "/api/jobs/999/cancel"}
    ours |= browser.headers
    assert browser.ask(**change, headers=ours | {"Origin": "http://vad.example"})[0] == 403
    assert browser.ask(**change, headers=ours | {"Origin": "https://vad.example"})[0] == 404


# --- limits


def test_fifty_broken_uploads_leave_no_file(browser):
    before = browser.files()
    head = (
        f"POST /api/videos?name=half.mp4 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"X-Vad: {browser.headers['X-Vad']}\r\nContent-Length: 5000\r\n\r\n"
    ).encode()
    for number in range(50):
        with socket.create_connection(("127.0.0.1", browser.page.port), 30) as connection:
            connection.sendall(head + b"x" * (97 * number))
    video = (browser.folder / "videos" / "v0.mp4").read_bytes()
    while (status := browser.post("/api/videos?name=whole.mp4", video)[0]) == 429:
        time.sleep(0.05)  # until those before are given up
    assert status == 201
    (browser.folder / "videos" / "whole.mp4").unlink()
    until = time.monotonic() + 30  # the server may still be giving up the last of them
    while browser.files() != before and time.monotonic() < until:
        time.sleep(0.05)
    assert browser.files() == before


def test_uploads_are_bounded_together(browser, monkeypatch):
    from vad.stages.pipelines.ui import uploads

    usage = shutil.disk_usage(browser.folder)
    room = usage._replace(free=uploads.SPARE_BYTES + 9000)
    monkeypatch.setattr("vad.stages.pipelines.ui.uploads.shutil.disk_usage", lambda _: room)
    head = (
        f"POST /api/videos?name=slow%d.mp4 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"X-Vad: {browser.headers['X-Vad']}\r\nContent-Length: 2000\r\n\r\n"
    )
    slow = []
    for number in range(uploads.AT_ONCE):
        slow.append(socket.create_connection(("127.0.0.1", browser.page.port), 30))
        slow[-1].sendall((head % number).encode())
        while sum(name.endswith(".part") for name in browser.files()) <= number:
            time.sleep(0.01)
        if number == 1:
            status, answer = browser.post("/api/videos?name=y.mp4", b"x" * 6000)
            assert (status, answer["error"]) == (507, "the disk has no room for the video")
    assert browser.post("/api/videos?name=y.mp4", b"x" * 100)[0] == 429
    for connection in slow:
        connection.close()
    while any(name.endswith(".part") for name in browser.files()):
        time.sleep(0.01)


def test_three_hundred_idle_connections_do_not_stop_the_page(browser, monkeypatch):
    monkeypatch.setattr("vad.stages.pipelines.ui.server.HEAD_S", 1.0)
    idle = [socket.create_connection(("127.0.0.1", browser.page.port), 30) for _ in range(300)]
    try:
        for connection in idle[::2]:
            connection.sendall(b"GET /videos HTTP/1.1\r\nHost: 127")
        started = time.monotonic()
        assert browser.ask("GET", "/api/state")[0] == 200
        assert time.monotonic() - started < 5
        for connection in idle:  # each is closed by the page
            connection.settimeout(20)
            while connection.recv(1000):
                pass
    finally:
        for connection in idle:
            connection.close()


def test_of_too_many_connections_those_that_wait_longest_are_closed(browser, monkeypatch):
    monkeypatch.setattr("vad.stages.pipelines.ui.server.MOST_CONNECTIONS", 20)
    idle = [socket.create_connection(("127.0.0.1", browser.page.port), 30) for _ in range(60)]
    try:
        assert browser.ask("GET", "/api/state")[0] == 200
        for connection in idle[:30]:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
    finally:
        for connection in idle:
            connection.close()


def test_a_body_that_comes_too_slowly_or_is_too_long_is_refused(browser, monkeypatch):
    monkeypatch.setattr("vad.stages.pipelines.ui.access.BODY_S", 0.3)
    head = (
        f"POST /api/labels HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Vad: {browser.headers['X-Vad']}\r\n"
    ).encode()
    assert browser.raw(head + b"Content-Length: 9\r\n\r\n{").startswith(b"HTTP/1.1 408")
    long = b"Content-Length: 9000000\r\n\r\n" + b"x" * 300_000
    assert browser.raw(head + long).startswith(b"HTTP/1.1 413")


# --- the end of a worker, after the tests that it works for


def test_a_worker_that_dies_fails_its_job_and_others_are_cancelled_or_done(browser):
    assert browser.done("prepare").state == "done"
    process = browser.page.jobs._worker._process
    process.send_signal(signal.SIGSTOP)  # so that it dies in the middle of the job
    job = browser.page.jobs.add("prepare")
    while job.state == "waiting":
        time.sleep(0.01)
    process.kill()
    assert browser.ended(job.number).state == "failed"
    assert "the worker process ended (SIGKILL)" in job.says

    assert browser.done("prepare").state == "done"

    numbers = [browser.post(f"/api/jobs/{kind}")[1]["job"] for kind in ("score", "prepare")]
    for number in reversed(numbers):  # that which waits, then that which runs
        status, answer = browser.post(f"/api/jobs/{number}/cancel")
        assert (status, answer["state"]) == (200, "cancelled")
    assert [browser.ended(number).state for number in numbers] == ["cancelled", "cancelled"]
    assert browser.post("/api/jobs/999/cancel")[0] == 404
    assert browser.post("/api/jobs/dance")[0] == 409


# --- the command


@pytest.mark.parametrize(
    ("command", "number"), [("ui", signal.SIGTERM), ("annotate", signal.SIGINT)]
)
def test_it_ends_cleanly(python, files, command, number):
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"  # as `vad ui &` in a script
        "from vad.stages.pipelines.cli import main; main()"
    )
    with python.start("-c", code, command, files.path, "--port", "0") as process:
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(number)
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert {path.name for path in files.path.iterdir()} <= {"videos", ".vad"}


def test_a_port_that_is_taken_and_a_folder_that_is_not_there_are_told(browser, tmp_path):
    port = browser.page.port
    with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}: address already"):
        serve(browser.folder, port=port)
    with pytest.raises(UsageError, match="no folder"):
        serve(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="nowhere is no run"):
        serve(tmp_path, detector="nowhere")
    shutil.copy(browser.folder / "videos" / "v0.mp4", tmp_path)
    with pytest.raises(UsageError, match="holds videos, but no folder videos/; move them into"):
        serve(tmp_path)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("street.mp4", "street.mp4"),
        ("../../etc/cron.d/x.mp4", "x.mp4"),
        (r"C:\videos\x.MKV", "x.MKV"),
        (".bashrc", "bashrc.mp4"),
        ("..", "video.mp4"),
        ("", "video.mp4"),
        ("x.json", "x.json.mp4"),
        ("a\nb\0c.mp4", "a_b_c.mp4"),
        ("ü" * 300 + ".mp4", "ü" * 98 + ".mp4"),  # two bytes each, 200 in all
    ],
)
def test_names_from_outside_become_file_names(given, name):
    assert safe_name(given) == name


@pytest.mark.parametrize(
    ("host", "here"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)),
        *(("0.0.0.0", False), ("192.168.0.2", False), ("localhost.evil", False), ("", False)),
    ],
)
def test_this_machine_is_told_from_others(host, here):
    assert is_loopback(host) == here
