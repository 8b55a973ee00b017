"""The page over real HTTP: the numbers of the command, and nothing for who may not use it."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

import vad
from vad.errors import UsageError
from vad.stages.infer.writers import save
from vad.stages.pipelines.ui.answers import parse_range
from vad.stages.pipelines.ui.server import is_loopback, safe_name, serve

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PAGE = {"X-Vad": "1"}  # what our own page sends


class Browser:
    """Asks a server; every request is a connection of its own."""

    def __init__(self, server):
        self.server = server

    def ask(self, method, path, *, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def done(self, number, headers=None):
        """The state of a job as soon as it has ended."""
        while True:
            jobs = json.loads(self.ask("GET", "/state", headers=headers)[2])["jobs"]
            job = next(job for job in jobs if job["job"] == number)
            if job["state"] in ("done", "failed"):
                return job
            time.sleep(0.1)


@pytest.fixture
def start(small_run):
    """Start a server; it ends with the test."""
    started = []

    def begin(**settings):
        ready = threading.Event()

        def listen(server):
            started.append(server)
            ready.set()

        arguments = {"port": 0, "ready": listen, **settings}
        thread = threading.Thread(
            target=serve, args=(small_run / "run", small_run / "videos"), kwargs=arguments
        )
        thread.start()
        assert ready.wait(60)
        threads.append(thread)
        return Browser(started[-1])

    threads = []
    yield begin
    for server in started:
        server.shutdown()
    for thread in threads:
        thread.join()


def test_a_dropped_and_a_chosen_video_have_the_scores_of_the_command(start, small_run, tmp_path):
    browser, video = start(), small_run / "videos" / "v3.mp4"
    (expected,) = save(vad.score(video, detector=small_run / "run"), tmp_path, ["json"])
    wanted = json.loads(expected.read_text())
    name = quote("<b>v3</b>.mp4")
    status, _, answer = browser.ask(
        "POST", f"/uploads?name={name}", body=video.read_bytes(), headers=PAGE
    )
    assert status == 202
    dropped = browser.done(json.loads(answer)["job"])
    assert dropped["state"] == "done", dropped
    assert dropped["files"] == ["csv", "html", "json"]
    chosen = browser.done(json.loads(browser.ask("POST", "/videos/3", headers=PAGE)[2])["job"])
    for job in (dropped, chosen):
        _, headers, body = browser.ask("GET", f"/jobs/{job['job']}/json")
        assert headers["Content-Type"] == "application/json"
        found = json.loads(body)
        for part in ("frames", "snippets", "events", "threshold", "peak"):
            assert json.dumps(found[part]) == json.dumps(wanted[part])
    status, headers, page = browser.ask("GET", f"/jobs/{dropped['job']}/html")
    assert status == 200
    assert "sandbox" in headers["Content-Security-Policy"]
    assert b"<b>v3" not in page


def test_a_file_that_is_no_video_fails_with_its_reason(start):
    browser = start()
    _, _, answer = browser.ask("POST", "/uploads?name=x.mp4", body=b"text" * 99, headers=PAGE)
    job = browser.done(json.loads(answer)["job"])
    assert (job["state"], job["files"]) == ("failed", [])
    assert job["says"].endswith("(not-a-video)")


def test_in_a_browser_the_first_report_of_several_opens_and_its_video_is_there(
    start, small_run, tmp_path
):
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    bad = tmp_path / "<b>bad.mp4"
    bad.write_text("no video" * 99)
    address = start().server.address
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = opened.new_page()
        complaints = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        page.set_input_files("#pick", [small_run / "videos" / "v3.mp4", bad])
        report = page.frame_locator("#report")
        report.locator("h1").wait_for(timeout=60_000)
        assert report.locator("h1").inner_text() == "v3"
        page.locator(".failed").wait_for(timeout=60_000)
        assert page.locator(".failed").inner_text().startswith("<b>bad.mp4\n")
        player = report.locator("video").element_handle()
        for _ in range(100):
            if player.evaluate("video => video.readyState") >= 2:
                break
            page.wait_for_timeout(50)
        assert player.evaluate("video => video.videoWidth") == 160
        report.locator(".exact").fill("0")  # all of it is an event, and can be reviewed
        report.locator(".exact").press("Enter")
        report.locator("[data-verdict=confirmed]").click()
        with page.expect_download() as download:
            report.locator(".download").click()
        assert "v3,0,20," in download.value.path().read_text(encoding="utf-8")
        assert complaints == []
        opened.close()


# --- videos that are too long to be inside their report


@pytest.fixture
def all_are_long(monkeypatch):
    monkeypatch.setattr("vad.stages.pipelines.ui.jobs.INSIDE_BYTES", 1000)


def score_first(browser, headers=PAGE):
    """Score the first video of the folder: its report, and the address of its copy."""
    _, _, answer = browser.ask("POST", "/videos/0", headers=headers)
    job = browser.done(json.loads(answer)["job"], headers)
    assert job["state"] == "done", job
    page = browser.ask("GET", f"/jobs/{job['job']}/html", headers=headers)[2].decode()
    return page, re.search(r'src="\.\./\.\.(/copies/[\w-]{43})"', page)[1]


def test_a_long_video_is_sent_whole_or_in_parts(start, all_are_long):
    browser = start()
    page, address = score_first(browser)
    assert 'class="preview"' not in page
    status, headers, whole = browser.ask("GET", address)
    assert (status, headers["Content-Type"]) == (200, "video/mp4")
    assert headers["Accept-Ranges"] == "bytes"
    assert whole[4:8] == b"ftyp"
    n = len(whole)
    for asked, status, told, body in (
        ("bytes=0-", 206, f"bytes 0-{n - 1}/{n}", whole),
        ("bytes=10-19", 206, f"bytes 10-19/{n}", whole[10:20]),
        ("bytes=-5", 206, f"bytes {n - 5}-{n - 1}/{n}", whole[-5:]),
        (f"bytes={n}-", 416, f"bytes */{n}", b""),
        ("bytes=0-1,5-6", 200, None, whole),
    ):
        found, headers, part = browser.ask("GET", address, headers={"Range": asked})
        assert (found, headers.get("Content-Range"), part) == (status, told, body), asked
    assert browser.ask("GET", "/copies/" + "x" * 43)[0] == 404
    assert browser.ask("GET", address, headers={"Host": "evil.example"})[0] == 403


def test_the_key_of_a_copy_opens_nothing_else(start, all_are_long):
    browser = start(host="0.0.0.0")
    token = {"Cookie": f"token={browser.server.token}"}
    _, address = score_first(browser, PAGE | token)
    status, headers, _ = browser.ask("GET", address)  # a player in a sandbox has no cookie
    assert status == 200
    assert "Set-Cookie" not in headers
    assert browser.ask("GET", "/copies/" + "x" * 43)[0] == 404
    assert browser.ask("GET", "/copies/../state")[0] == 404
    assert browser.ask("GET", "/state")[0] == 403
    assert browser.ask("POST", address, headers=PAGE)[0] == 403


def test_a_long_video_plays_and_seeks_in_a_browser(start, all_are_long, small_run):
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    server = start(host="0.0.0.0").server  # the harder case: its page has a cookie, its player none
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = opened.new_page()
        page.goto(server.address.replace("0.0.0.0", "127.0.0.1"))
        page.set_input_files("#pick", small_run / "videos" / "v0.mp4")  # 2 s
        report = page.frame_locator("#report")
        report.locator("h1").wait_for(timeout=60_000)
        player = report.locator("video").element_handle()
        sought = player.evaluate(
            """video => new Promise((resolve, reject) => {
                video.onerror = () => reject(video.error.message);
                video.onseeked = () => resolve([video.currentTime, video.videoWidth]);
                video.currentTime = 1.5;
            })"""
        )
        assert sought == [1.5, 160]
        opened.close()


def test_the_oldest_jobs_go_when_their_files_are_too_large(start, all_are_long, monkeypatch):
    browser = start()
    _, first = score_first(browser)
    n_bytes = browser.server.jobs.all()[0].n_bytes
    monkeypatch.setattr("vad.stages.pipelines.ui.jobs.KEPT_BYTES", 1.5 * n_bytes)
    _, second = score_first(browser)
    assert [browser.ask("GET", copy)[0] for copy in (first, second)] == [404, 200]
    (job,) = json.loads(browser.ask("GET", "/state")[2])["jobs"]
    assert job["job"] == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_and_leaves_no_file(small_run, tmp_path, number):
    command = "from vad.stages.pipelines.cli import main; main()"
    arguments = ["ui", "--detector", str(small_run / "run"), "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", command, *arguments],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_IGN
        ),  # as `vad ui &` in a script
    )
    with process:
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        assert len(list(tmp_path.glob("vad-ui-*"))) == 1
        process.send_signal(number)
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert list(tmp_path.glob("vad-ui-*")) == []


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-99", range(100)),
        ("bytes=100-", range(100, 1000)),
        ("bytes=-100", range(900, 1000)),
        ("bytes=-5000", range(1000)),  # fewer than asked for
        ("bytes=990-5000", range(990, 1000)),
        ("bytes=1000-", range(1000, 1000)),  # none of it is there
        ("bytes=-0", range(1000, 1000)),
        *((header, None) for header in ("", "bytes=-", "bytes=5-4", "bytes=0-1,3-4", "lines=0-1")),
        ("bytes=" + "9" * 30 + "-", None),
    ],
)
def test_the_part_that_is_asked_for(header, part):
    assert parse_range(header, 1000) == part


def test_the_page_holds_nothing_from_elsewhere(start):
    browser = start()
    for path in ("/", "/page.css", "/page.js"):
        status, headers, body = browser.ask("GET", path)
        assert status == 200
        assert b"//" not in body.replace(b" // ", b""), path  # no address of another host
        assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {"Host": "evil.example"}, 403),  # a name that was made to point here
        ("GET", "/state", {"Host": "127.0.0.1.evil.example"}, 403),
        ("POST", "/videos/0", {}, 403),  # a form of another page
        ("POST", "/videos/4", PAGE, 404),
        ("POST", "/videos/-1", PAGE, 404),
        ("POST", "/videos/%2e%2e%2fv0", PAGE, 404),
        ("POST", "/uploads?name=x.mp4", {**PAGE, "Content-Length": "1001"}, 413),
        ("POST", "/uploads?name=x.mp4", {**PAGE, "Transfer-Encoding": "chunked"}, 411),
        ("GET", "/jobs/1/json", {}, 404),
        ("GET", "/../../etc/passwd", {}, 404),
        ("GET", "//etc/passwd", {}, 404),
        ("GET", "/page.html", {}, 404),
        ("PUT", "/state", {}, 501),
    ],
)
def test_what_may_not_be_asked_is_refused(start, method, path, headers, status):
    browser = start(max_bytes=1000)
    assert browser.ask(method, path, headers=headers)[0] == status
    assert json.loads(browser.ask("GET", "/state")[2])["jobs"] == []


def test_other_machines_need_the_token(start):
    browser = start(host="0.0.0.0")
    token = browser.server.address.split("token=")[1]
    assert len(token) >= 32
    for path in ("/", "/state", "/?token=", "/?token=" + "x" * len(token)):
        assert browser.ask("GET", path)[0] == 403
    status, headers, _ = browser.ask("GET", f"/?token={token}")
    assert status == 200
    assert "HttpOnly" in headers["Set-Cookie"]
    cookie = {"Cookie": headers["Set-Cookie"].split(";")[0]}
    assert browser.ask("GET", "/state", headers=cookie)[0] == 200
    assert browser.ask("POST", "/videos/99", headers=cookie)[0] == 403  # not from our page
    assert browser.ask("POST", "/videos/99", headers=cookie | PAGE)[0] == 404


def test_a_port_that_is_taken_is_told(start, small_run):
    port = start().server.port
    with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}: address already"):
        serve(small_run / "run", port=port)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("street.mp4", "street.mp4"),
        ("../../etc/cron.d/x.mp4", "x.mp4"),
        (r"C:\videos\x.mp4", "x.mp4"),
        (".bashrc", "bashrc"),
        ("..", "video"),
        ("", "video"),
        ("a\nb\0c.mp4", "a_b_c.mp4"),
        ("ü" * 300 + ".mp4", "ü" * 98 + ".mp4"),  # two bytes each, 200 in all
    ],
)
def test_names_from_outside_become_file_names(given, name):
    assert safe_name(given) == name
    assert Path(name).name == name


@pytest.mark.parametrize(
    ("host", "here"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)),
        *(("0.0.0.0", False), ("192.168.0.2", False), ("localhost.evil", False), ("", False)),
    ],
)
def test_this_machine_is_told_from_others(host, here):
    assert is_loopback(host) == here
