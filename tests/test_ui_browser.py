"""The page of a project in a real browser: from an empty folder to reviewed events, by the page."""

import contextlib
import csv
import importlib.resources
import json
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading

import pytest

from vad.labels import read_labels
from vad.stages.pipelines.ui.server import serve

PAGES = ("videos", "label", "train", "results", "cameras", "about")
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
MINUTES_MS = 900_000


@pytest.fixture(scope="module")
def start():
    """Start the page of a folder, and return its address; all end with the module."""
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
        return pages[-1].address

    begin.pages = pages
    yield begin
    for page in pages:
        page.shutdown()
    for thread in threads:
        thread.join()


class Person:
    """A person at a browser, who only sees and does what the page offers."""

    def __init__(self, browser, address, **context):
        self.context = browser.new_context(**context)
        self.page, self.address, self.complaints = self.context.new_page(), address, []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.goto(address)

    def _hear(self, message):
        if message.type == "error":
            self.complaints.append(message.text)

    def go(self, name):
        pages = self.page.get_by_role("navigation", name="Pages")
        with self.page.expect_navigation():  # else keys may come before the page's script
            pages.get_by_role("link", name=name).click()

    def reads(self, words, timeout=60_000):
        self.page.get_by_text(words).first.wait_for(timeout=timeout)

    def add(self, videos):
        self.go("Videos")
        self.page.get_by_label("Add videos").set_input_files([str(video) for video in videos])
        n = len(videos)
        self.reads(f"{n} videos in videos/. All have features.", MINUTES_MS)
        self.page.locator("#work").wait_for(state="hidden", timeout=MINUTES_MS)

    def label(self, key, videos, kind=""):
        """Label videos by the keyboard: go to each with the arrows, select it, press the key."""
        page = self.page
        if kind:
            page.get_by_label("Kind").fill(kind)
        options = page.get_by_role("option")
        names = options.evaluate_all("all => all.map(each => each.dataset.video)")
        options.first.focus()
        page.keyboard.press("Home")
        for name in names:
            if name in videos:
                page.keyboard.press("Space")
            page.keyboard.press("ArrowRight")
        self.reads(f"{len(videos)} selected")
        page.keyboard.press(key)
        self.reads(f"{len(videos)} video{'s' * (len(videos) != 1)}: ")

    def train(self):
        self.go("Train")
        self.page.get_by_role("button", name="Train a new run").click()
        self.reads("is trained", MINUTES_MS)

    def score(self):
        self.go("Results")
        self.page.get_by_role("button", name="Score").click()
        self.reads("All videos have scores of it.", MINUTES_MS)


def reviews_of(folder):
    with (folder / "reviews.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def violations(page):
    """What axe-core finds serious or critical on a page."""
    pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python")
    source = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js")
    page.evaluate(source.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    return [
        f"{rule['id']}: {node['html'][:120]} {node['failureSummary'][:300]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def test_from_an_empty_folder_to_a_reviewed_event_by_the_page(
    browser, start, small_run, make_video, tmp_path_factory
):
    """The quick sibling of the test with rendered videos: four videos of 16 frames, no training."""
    folder = tmp_path_factory.mktemp("quick") / "project"
    folder.mkdir()
    (folder / "vad.toml").write_text("[extract]\nbackbone = 'efficientnet-lite0'\n")
    person = Person(browser, start(folder))
    person.reads("No video yet.")
    person.add([make_video(f"v{i}.mp4", 16, fps=10) for i in range(4)])

    person.go("Label")
    person.label("a", {"v1", "v3"}, kind="fight")
    person.label("n", {"v0", "v2"})
    person.page.get_by_role("button", name="Undo").click()
    person.reads("undone")
    labels = {x.video: (x.label, x.category) for x in read_labels(folder / "labels.csv")}
    assert labels == {"v1": (1, "fight"), "v3": (1, "fight")}
    person.page.get_by_role("button", name="Next videos").click()
    person.page.locator("[data-video=v1]").wait_for(state="detached")
    assert person.page.get_by_role("option").count() == 2

    shutil.copytree(small_run / "run", folder / "runs" / "small")  # trained elsewhere
    person.score()
    scores = folder / "scores" / "v0.json"
    document = json.loads(scores.read_text())
    event = {"start_frame": 2, "end_frame": 12, "start_s": 0.2, "end_s": 1.2, "peak_frame": 5}
    for name, peak in (("v0", 0.9), ("v1", 0.8)):
        changed = document | {"video": name, "events": [event | {"peak": peak}]}
        scores.with_name(f"{name}.json").write_text(json.dumps(changed))
    person.go("Results")
    rows = person.page.locator(".events > li")
    rows.nth(0).get_by_role("button", name="Confirm").click()
    person.reads("v0: confirmed")
    rows.nth(1).get_by_role("button", name="Dismiss").press("Enter")
    person.reads("v1: dismissed")
    assert [(r["video"], r["start_frame"], r["verdict"]) for r in reviews_of(folder)] == [
        *(("v0", "2", "confirmed"), ("v1", "2", "dismissed")),
    ]
    person.page.get_by_role("link", name="v0").click()
    assert person.page.get_by_role("heading", level=1).inner_text() == "v0"
    player = person.page.locator("video").element_handle()
    for _ in range(200):
        if player.evaluate("video => video.readyState") >= 2:
            break
        person.page.wait_for_timeout(50)
    assert player.evaluate("video => video.videoWidth") == 160
    assert person.complaints == []


LOOKS = {"light": {}, "dark, on a phone": {"color_scheme": "dark", **PHONE}}


@pytest.fixture(scope="module")
def labelled(start, small_run, tmp_path_factory):
    """The address of a project of four videos, of which two are labelled, with a run."""
    from vad.stages.pipelines.ui.folder import PREVIEWS, ProjectFolder
    from vad.stages.pipelines.ui.previews import make_preview

    folder = tmp_path_factory.mktemp("labelled") / "project"
    shutil.copytree(small_run / "videos", folder / "videos")
    shutil.copytree(small_run / "run", folder / "runs" / "small")
    (folder / "cameras.toml").write_text('[cameras.door]\naddress = "rtsp://10.0.0.5/live"\n')
    project = ProjectFolder(folder)
    project.set_labels([("v0", "0", ""), ("v1", "1", "fight")])
    for source in project.sources():
        make_preview(folder / PREVIEWS, source.id, source.path)
    return start(folder)


def test_a_zone_that_is_drawn_is_one_that_vad_watch_reads(browser, labelled, tmp_path):
    from vad.stages.pipelines.watch.reading import read_watch_file

    person = Person(browser, labelled)
    person.go("Cameras")
    still = person.page.locator("#zone-still")
    size = still.bounding_box()
    for x, y in ((0, 0), (0.5, 0), (0.5, 0.25)):
        still.click(position={"x": x * size["width"] + 1, "y": y * size["height"] + 1})
    person.page.get_by_label("Corners").press("End")
    person.page.get_by_label("Corners").press_sequentially("\n0 0.25")
    path = tmp_path / "cameras.toml"
    written = person.page.locator("#zone-toml").input_value()
    path.write_text(f'[cameras.door]\naddress = "rtsp://10.0.0.5/live"\n{written}')
    (zone,) = read_watch_file(path).cameras[0].zones
    assert zone.kind == "ignore"
    assert zone.polygon[3] == (0, 0.25)
    assert zone.polygon[1] == pytest.approx((0.5, 0), abs=0.02)
    assert person.complaints == []


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_pages_have_names_contrast_and_no_serious_fault(browser, labelled, look):
    person = Person(browser, labelled, **look)
    for name in PAGES:
        person.page.goto(f"{labelled}{name}{'?show=all' * (name == 'label')}")
        person.page.locator("#main").wait_for()
        assert violations(person.page) == [], name
        widths = person.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert widths[0] <= widths[1], f"{name} is wider than the window"
    assert person.complaints == []


def test_the_video_of_a_report_plays_and_seeks(browser, start, small_run, tmp_path, monkeypatch):
    from vad.stages.pipelines.ui import worker

    shutil.copytree(small_run / "videos", tmp_path / "videos")
    shutil.copytree(small_run / "run", tmp_path / "runs" / "small")
    shutil.copytree(small_run / "features.zarr", tmp_path / "features.zarr")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker, "INSIDE_BYTES", 1000)
    worker.ACTIONS["score"]({"videos": ["v0"], "device": "cpu"})
    # the harder case: the page has a session, the player of a report none
    address = start(tmp_path, host="0.0.0.0").replace("0.0.0.0", "127.0.0.1")
    person = Person(browser, address)
    person.go("Results")
    person.page.goto(address.split("?")[0] + "scores/v0.html")
    player = person.page.locator("video").element_handle()
    sought = player.evaluate(
        """video => new Promise((resolve, reject) => {
            video.onerror = () => reject(video.error.message);
            video.onseeked = () => resolve([video.currentTime, video.videoWidth]);
            video.currentTime = 1.5;
        })"""
    )
    assert sought == [1.5, 160]


class Proxy(socketserver.BaseRequestHandler):
    """Ends TLS before the page, as nginx does: it passes on what it gets, byte by byte."""

    def handle(self):
        with socket.create_connection(("127.0.0.1", self.server.port)) as inner:
            there = threading.Thread(target=self.copy, args=(self.request, inner))
            there.start()
            self.copy(inner, self.request)
            there.join()

    @staticmethod
    def copy(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(tmp_path):
    """A server with TLS on this machine; its attribute `port` is that of the page behind it."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl, which makes a certificate")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    files = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"]
    subprocess.run(
        ["openssl", *words.split(), "-subj", "/CN=localhost", *files],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_behind_a_proxy_with_tls_a_person_signs_in_and_labels(
    browser, start, proxy, small_run, tmp_path
):
    folder = tmp_path / "project"
    shutil.copytree(small_run / "videos", folder / "videos")
    public = f"https://localhost:{proxy.server_address[1]}"
    inner = start(folder, public=public)
    assert inner.startswith(f"{public}/?token=")
    proxy.port = start.pages[-1].port
    person = Person(browser, inner, ignore_https_errors=True)
    assert person.page.url == f"{public}/videos"
    (cookie,) = person.context.cookies()
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")
    person.go("Label")
    person.label("a", {"v1"})
    assert [(x.video, x.label) for x in read_labels(folder / "labels.csv")] == [("v1", 1)]
    stranger = browser.new_context(ignore_https_errors=True).new_page()
    assert stranger.goto(f"{public}/videos").status == 403
    assert person.complaints == []


@pytest.mark.slow
def test_rendered_videos_are_added_labelled_trained_on_scored_and_reviewed(
    browser, start, tmp_path_factory
):
    from vad.stages.pipelines.demo.videos import render_demo

    data = render_demo(tmp_path_factory.mktemp("rendered"), quiet=True)
    labels = read_labels(data.labels)
    chosen = [[x for x in labels if x.label == value][:10] for value in (0, 1)]
    files = {path.stem: path for path in data.videos.rglob("*.mp4")}
    folder = tmp_path_factory.mktemp("slow") / "project"
    folder.mkdir()
    person = Person(browser, start(folder))
    person.add([files[x.video.rpartition("/")[2]] for part in chosen for x in part])
    person.go("Label")
    for key, part in zip("na", chosen, strict=True):
        person.label(key, {x.video.rpartition("/")[2] for x in part[:6]})
    assert len(read_labels(folder / "labels.csv")) == 12
    person.train()
    assert (folder / "runs" / "default" / "card.json").exists()
    person.score()
    rows = person.page.locator(".events > li")
    assert rows.count() >= 2
    rows.nth(0).get_by_role("button", name="Confirm").click()
    person.reads(": confirmed")
    rows.nth(rows.count() - 1).get_by_role("button", name="Dismiss").click()
    person.reads(": dismissed")
    assert sorted(r["verdict"] for r in reviews_of(folder)) == ["confirmed", "dismissed"]
    person.train()
    assert (folder / "runs" / "default-2" / "card.json").exists()
    assert person.complaints == []
