"""The report page: complete in itself, harmless whatever a name is, and alive in a browser."""

import base64
import csv
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import av
import numpy as np
import pytest
from PIL import Image

from vad.stages.infer.report import write_report
from vad.stages.infer.settings import EventRule
from vad.stages.infer.video.copies import make_copies
from vad.stages.infer.where import Where
from vad.stages.infer.writers import ScoreFiles
from vad.stages.train.heldout import NormalFootage

SNIPPETS = [0.1, 0.9, 0.2, 0.7]  # of 64 frames, ten a second: events at 1.6 and 4.8 s
HOSTILE = "<script>document.title='broken'</script>\"'><img src=x onerror=document.title='broken'>"


class Page(HTMLParser):
    """The elements of a page, their attributes, and the text of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._inside = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = (tag, dict(attrs))

    def handle_data(self, data):
        if self._inside:
            self.texts.append((*self._inside, data))
        self._inside = None

    def text_of(self, css_class):
        return [text for _, attrs, text in self.texts if attrs.get("class") == css_class]


@pytest.fixture
def scored(make_scores, make_video):
    """Scores of a video that is there, with captions."""

    def make(name="video", **settings):
        path = make_video(f"{len(name)}.mp4", n_frames=64, fps=10)
        captions = settings.pop(
            "captions", ["a street", "two men are fighting", "a street", "fire"]
        )
        return make_scores(SNIPPETS, video=name, source=path, captions=captions, **settings)

    return make


@pytest.fixture
def page(tmp_path):
    """Write a report and parse it."""

    def make(*videos):
        path = tmp_path / "out" / "report.html"
        write_report(path, videos)
        return path, Page(path.read_text(encoding="utf-8"))

    return make


def test_the_page_holds_player_curve_events_captions_and_provenance(scored, page):
    made = {
        "features": {"visual/i3d": {"weights": "w"}},
        "detector": [{"name": "rtfm", "n": [1, 2]}],
    }
    path, parsed = page(scored(provenance=made))
    text = path.read_text(encoding="utf-8")
    (data,) = map(json.loads, parsed.text_of("data"))
    assert list(zip(data["starts"], data["scores"], strict=True)) == [
        *((0, 0.1), (16, 0.9), (32, 0.2), (48, 0.7)),
    ]
    assert np.cumsum(data["edges"]).tolist() == [100_000 * frame for frame in range(65)]
    kinds = [attrs["class"] for tag, attrs in parsed.tags if tag == "svg"]
    assert kinds == ["curve", "part", "part"]  # the whole, and what is around each event
    for words in (
        "0:01.6&ndash;0:03.2",
        "two men are fighting",
        "1.6&ndash;3.2 s",
        "4.8&ndash;6.4 s",
        "rtfm",
        "0" * 64,
        "visual/i3d",
        "<dt>weights</dt><dd>w</dd>",
        "<dt>name</dt><dd>rtfm</dd>",
        "<dt>n</dt><dd>1, 2</dd>",
    ):
        assert words in text


def test_the_copy_in_the_page_has_every_frame_and_thumbnails_show_the_peaks(
    scored, page, read_numbers
):
    _, parsed = page(scored())
    (copy,) = parsed.text_of("preview")
    with av.open(io.BytesIO(base64.b64decode(copy))) as container:
        numbers = read_numbers(f.to_ndarray(format="rgb24") for f in container.decode(video=0))
    assert numbers == list(range(64))
    pictures = [a["src"] for tag, a in parsed.tags if tag == "img"]
    shown = []
    for picture in pictures:
        kind, _, data = picture.partition(";base64,")
        assert kind == "data:image/jpeg"
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            shown.append(image.size)
    assert shown == [(160, 96), (160, 96)]


def test_nothing_is_fetched_from_anywhere(scored, page):
    path, parsed = page(scored(), scored("another"))
    text = path.read_text(encoding="utf-8")
    for tag, attrs in parsed.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "poster", "action"):
            assert attrs.get(name, "data:").startswith(("data:", "#")), (tag, attrs)
    assert not re.search(r"https?://|@import|url\(", text)
    (policy,) = [a["content"] for _, a in parsed.tags if "http-equiv" in a]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_names_and_captions_stay_text(scored, page):
    innocent = page(scored("name"))[1]
    _, parsed = page(scored(HOSTILE, captions=[HOSTILE, "</script><b>", "&amp;", "]]>"]))
    assert [tag for tag, _ in parsed.tags] == [tag for tag, _ in innocent.tags]
    assert not any(n.startswith("on") for _, attrs in parsed.tags for n in attrs)
    (data,) = map(json.loads, parsed.text_of("data"))
    assert data["captions"][1] == "</script><b>"
    assert "</script><b>" in [text for tag, _, text in parsed.texts if tag == "bdi"]


def hidden(parsed, css_class):
    return ["hidden" in a for _, a in parsed.tags if a.get("class") == css_class]


def test_a_video_without_events_says_how_near_it_came_and_what_to_try(make_scores, page):
    path, parsed = page(make_scores([0.1, 0.4306, 0.2]))
    text = path.read_text(encoding="utf-8")
    assert [hidden(parsed, name) for name in ("calm", "below", "short")] == [
        *([False], [False], [True])
    ]
    assert 'reaches <span class="at">0.500</span>. The highest is 0.43 at 0:01.6' in text
    assert '<span class="gap">0.07</span> lower' in text
    assert 'data-threshold="0.43">Lower the threshold to 0.43<' in text


def test_a_score_that_is_high_for_too_short_a_time_is_told_apart(make_scores, page):
    scores = make_scores([0.1, 0.9, 0.2], rule=EventRule(min_event=2.0))
    path, parsed = page(scores)
    assert [hidden(parsed, name) for name in ("calm", "below", "short")] == [
        *([False], [True], [False])
    ]
    assert "but never for 2 s, the shortest event" in path.read_text(encoding="utf-8")


FOOTAGE = NormalFootage((0.2, 0.3, 0.5, 0.7), (9, 4, 4, 1), 360.0)


def test_scores_are_told_as_chances_and_by_how_often_normal_footage_reaches_them(make_scores, page):
    path, parsed = page(make_scores(SNIPPETS, prior=0.05, normal_footage=FOOTAGE))
    text = path.read_text(encoding="utf-8")
    assert "is anomalous, if 5 % of the footage is (<code>--prior</code>)" in text
    assert parsed.text_of("reading")[0] == "normal footage never reached this in 6.0 minutes"
    plain = page(make_scores(SNIPPETS))[0].read_text(encoding="utf-8")
    assert "Scores rank moments; they are no chances." in plain
    assert "normal footage" not in re.sub("(?s)<script>.*", "", plain)


def test_a_video_unlike_the_training_videos_has_a_banner(make_scores, page):
    for familiarity, n_banners in ((0.0, 1), (0.05, 1), (0.06, 0), (None, 0)):
        path, _ = page(make_scores(SNIPPETS, familiarity=familiarity))
        text = path.read_text(encoding="utf-8")
        assert text.count("unlike the training videos: read scores as a guess") == n_banners
    two = [make_scores(SNIPPETS, video=name, familiarity=f) for name, f in (("a", 0.9), ("b", 0.0))]
    assert "1 of 2 videos is unlike the training videos" in page(*two)[0].read_text("utf-8")


def test_in_a_browser_every_score_has_the_reading_of_the_run(scored, page, visit):
    made = scored(normal_footage=FOOTAGE)
    opened = visit(page(made)[0])
    shown = [cell.inner_text() for cell in opened.locator("tbody .reading").all()]
    assert shown == [event.reading for event in made.events]
    levels = (0, 0.19, 0.2, 0.21, 0.29, 0.3, 0.31, 0.49, 0.5, 0.69, 0.7, 0.71, 1)
    for score in levels:
        told = opened.evaluate(f"page.videos[0].readingOf({score})")
        assert told == made.reading_of(score), score
    opened.locator(".slider").fill("0.4")
    assert opened.locator(".promise").inner_text() == made.reading_of(0.4)


def test_runs_with_several_thresholds_tell_the_range(make_scores, page):
    videos = [dataclasses.replace(make_scores([0.2]), threshold=t) for t in (0.7, 0.25)]
    _, parsed = page(*videos)
    assert parsed.text_of("at")[0] == "0.250 to 0.700"


def test_several_videos_come_in_the_order_of_their_peaks(make_scores, page):
    videos = [make_scores([0.2], video="calm"), make_scores([0.6], video="loud")]
    _, parsed = page(*videos)
    links = [a["href"] for tag, a in parsed.tags if tag == "a"]
    assert links == ["#video-1", "#video-2"]
    names = [text for tag, _, text in parsed.texts if tag == "bdi"]
    assert names == ["2 videos", "loud", "calm", "loud", "calm"]


def test_a_video_that_is_gone_still_has_its_curve(make_scores, page):
    path, parsed = page(make_scores(SNIPPETS))
    assert "The video could not be read" in path.read_text(encoding="utf-8")
    assert "svg" in [tag for tag, _ in parsed.tags]


def test_a_long_video_plays_from_its_own_file(scored, page, monkeypatch):
    monkeypatch.setattr("vad.stages.infer.report.EMBEDDED_BYTES", 1000)
    _, parsed = page(scored("a b"))
    (video,) = [a for tag, a in parsed.tags if tag == "video"]
    assert video["src"] == "../3.mp4"
    assert parsed.text_of("preview") == []


def test_the_copies_of_the_highest_scores_are_inside_the_page(
    scored, make_scores, tmp_path, monkeypatch
):
    """Copies are made as videos come, before it is known which have the highest scores."""
    loud = scored("a")
    calm = dataclasses.replace(scored("bb"), snippets=loud.snippets / 2)
    size = len(make_copies(loud, 10**6).preview)
    monkeypatch.setattr("vad.stages.infer.report.EMBEDDED_BYTES", int(1.5 * size))
    files = ScoreFiles(tmp_path, ["html"], clips=True)
    for scores in (dataclasses.replace(calm, threshold=0.2), loud):
        files.add(scores)
    assert files.n_to_watch == 0
    (path,) = files.finish()
    parsed = Page(path.read_text(encoding="utf-8"))
    first, second = (a for tag, a in parsed.tags if tag == "video")
    assert ("src" in first, second["src"]) == (False, "2.mp4")
    assert len(parsed.text_of("preview")) == 1


@pytest.fixture
def visit(browser):
    """Open a page; what goes wrong in it is collected in `page.complaints`."""
    contexts = []

    def go(path, **settings):
        contexts.append(browser.new_context(offline=True, **settings))
        opened = contexts[-1].new_page()
        opened.complaints = []
        opened.on("console", lambda message: opened.complaints.append(message.text))
        opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.goto(path.as_uri())
        until(opened, "document.querySelector('video').readyState >= 2")
        return opened

    yield go
    for context in contexts:
        context.close()


def until(opened, condition):
    """Wait for a condition; the page forbids what Playwright's own way of waiting needs."""
    for _ in range(100):
        if opened.evaluate(condition):
            return
        opened.wait_for_timeout(50)
    pytest.fail(f"never: {condition}; now at {now(opened)} s; {opened.complaints}")


def now(opened):
    return opened.evaluate("document.querySelector('video').currentTime")


def settle(opened, time_s):
    """Wait until the player is at a time, to a frame."""
    until(opened, f"Math.abs(document.querySelector('video').currentTime - {time_s}) < 0.05")


def test_in_a_browser_curve_keys_and_events_move_the_player(scored, page, visit):
    path, _ = page(scored())
    opened = visit(path)
    assert now(opened) == pytest.approx(2.4, abs=0.01)  # it opens in the middle of the peak
    box = opened.locator(".plot").bounding_box()
    opened.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + 20)
    settle(opened, 4.8)
    assert opened.locator(".saying").inner_text() == "event 2: fire"
    assert opened.locator(".score").inner_text() == "0.70"
    for key, time_s in (("ArrowLeft", 3.8), (",", 3.7), ("p", 1.6), ("n", 4.8), ("Home", 0.0)):
        opened.locator(".plot").press(key)
        settle(opened, time_s)
    assert opened.locator(".score").inner_text() == "0.10"
    opened.locator(".go").first.click()  # plays from where the event begins
    until(opened, "document.querySelector('video').currentTime > 1.7")
    assert not opened.evaluate("document.querySelector('video').paused")
    opened.locator(".plot").press(" ")
    assert opened.evaluate("document.querySelector('video').paused")
    opened.locator(".plot").press("+")
    shown = opened.locator("svg.curve").get_attribute("viewBox").split()
    assert float(shown[2]) == pytest.approx(500)  # half of it
    assert opened.complaints == []


def events_shown(opened):
    return [t.replace("\u2013", "-") for t in opened.locator("tbody .when").all_inner_texts()]


def test_in_a_browser_the_threshold_moves_and_events_are_judged_and_saved(scored, page, visit):
    made = scored('=a,"b"', captions=[])
    made = dataclasses.replace(made, snippets=made.snippets[[0, 3, 2, 1]])
    opened = visit(page(made)[0], viewport={"width": 1280, "height": 900})
    assert events_shown(opened) == ["0:01.6-0:03.2", "0:04.8-0:06.4"]
    ends = "[...document.querySelectorAll('.axis, .axis span')].map(e => e.getBoundingClientRect())"
    axis, *labels = opened.evaluate(f"{ends}.map(box => [box.left, box.right])")
    assert len(labels) > 2
    assert all(axis[0] <= left < right <= axis[1] for left, right in labels)  # none is cut off
    opened.locator(".order select").select_option("score")
    assert events_shown(opened) == ["0:04.8-0:06.4", "0:01.6-0:03.2"]
    opened.locator(".slider").fill("0.2")
    whole = dataclasses.replace(made, threshold=0.2).events
    assert [(e.start_s, e.end_s) for e in whole] == [(1.6, 6.4)]
    assert events_shown(opened) == ["0:01.6-0:06.4"]
    assert opened.locator(".lede .at").inner_text() == "0.2"
    opened.locator(".own").click()
    assert opened.locator(".lede .at").inner_text() == "0.500"

    opened.locator(".plot").press("d")  # the event of the peak, where the page opens: at 4.8 s
    opened.locator("[data-verdict=confirmed]").last.click()
    assert opened.locator(".reviewed").inner_text() == "2 of 2 reviewed"
    reviews = [row.get_attribute("data-review") for row in opened.locator("tbody tr").all()]
    assert reviews == ["dismissed", "confirmed"]
    opened.locator(".exact").fill("0.8")  # the verdict stays with the event, as it was when given
    opened.locator(".exact").press("Enter")
    assert opened.locator(".reviewed").inner_text() == "1 of 1 reviewed"
    with opened.expect_download() as download:
        opened.locator(".download").click()
    rows = csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8")))
    assert [list(row.values()) for row in rows] == [
        ['\'=a,"b"', "16", "32", "1.6", "3.2", "confirmed"],
        ['\'=a,"b"', "48", "64", "4.8", "6.4", "dismissed"],
    ]
    assert opened.complaints == []


def test_in_a_browser_the_picture_of_an_event_is_tinted_where_the_score_comes_from(
    scored, page, visit
):
    shares = np.zeros((4, 2, 4), np.float32)
    shares[:3, 1, 3] = 1  # below on the right
    shares[3, 0, 0] = 1
    path, _ = page(scored(where=Where(shares, (0.0, 0.0, 160.0, 96.0))))
    opened = visit(path)

    def tint(x, y):  # opacity at a place, in shares of the picture
        return opened.evaluate(
            "([x, y]) => { const c = document.querySelector('.heat'); return c.getContext('2d')"
            ".getImageData(x * (c.width - 1), y * (c.height - 1), 1, 1).data[3]; }",
            [x, y],
        )

    heat, plot = opened.locator(".heat"), opened.locator(".plot")
    assert heat.is_visible()  # at the peak
    assert (tint(0.9, 0.8), tint(0.2, 0.2)) == (255, 0)
    player = opened.locator("video").bounding_box()
    assert heat.bounding_box() == pytest.approx(player, abs=1)
    plot.press("n")  # the second event
    settle(opened, 4.8)
    assert (tint(0.9, 0.8), tint(0.1, 0.1)) == (0, 255)
    plot.press("h")
    assert not heat.is_visible()
    plot.press("h")
    assert heat.is_visible()
    plot.press("Home")  # no event
    settle(opened, 0.0)
    assert not heat.is_visible()
    assert [c for c in opened.complaints if "getImageData" not in c] == []  # of `tint`


def test_in_a_browser_a_verdict_replaces_those_that_it_overlaps(scored, page, visit):
    opened = visit(page(scored())[0], viewport={"width": 1280, "height": 900})
    confirm, dismiss = (opened.locator(f"[data-verdict={v}]") for v in ("confirmed", "dismissed"))
    confirm.nth(0).click()
    dismiss.nth(1).click()
    opened.locator(".slider").fill("0.2")  # one event of both, with the peak of the first
    assert confirm.get_attribute("aria-pressed") == "true"
    dismiss.click()
    opened.locator(".slider").fill("0.5")
    assert [b.get_attribute("aria-pressed") for b in dismiss.all()] == ["true", "true"]
    dismiss.nth(0).click()  # the same again removes it
    assert [b.get_attribute("aria-pressed") for b in dismiss.all()] == ["false", "false"]
    assert opened.locator(".download").is_disabled()


def test_in_a_browser_events_that_a_lower_threshold_brings_get_a_picture(scored, page, visit):
    opened = visit(page(dataclasses.replace(scored(), threshold=0.95))[0])
    assert opened.locator(".calm").inner_text().startswith("No event: no score reaches 0.95.")
    opened.locator(".lower").click()
    assert events_shown(opened) == ["0:01.6-0:03.2"]
    assert opened.locator(".calm").is_hidden()
    canvas = "document.querySelector('.go canvas')"
    until(opened, f"{canvas}.height === 192")  # of 320 wide: the shape of the video
    pixels = opened.evaluate(
        f"[...{canvas}.getContext('2d').getImageData(0, 0, 320, 90).data].filter((v) => v > 200)"
    )
    assert len(pixels) > 320 * 90  # white bits of the number, besides all alpha
    assert opened.complaints == []


def test_in_a_browser_nothing_breaks_out(scored, page, visit):
    path, _ = page(scored(HOSTILE, captions=[HOSTILE] * 4))
    opened = visit(path)
    assert opened.title() != "broken"
    assert opened.locator("h1").inner_text() == HOSTILE
    assert opened.complaints == []
    injected = "document.body.appendChild(Object.assign(document.createElement('img'), {src: 'x'}))"
    opened.evaluate(injected)  # even what did get in could fetch nothing
    opened.wait_for_timeout(200)
    assert "Content Security Policy" in " ".join(opened.complaints)


def test_in_a_browser_the_page_fits_its_window(scored, page, visit):
    path, _ = page(scored("a_very_long_name_without_any_place_to_break_it_" * 4), scored("b"))
    opened = visit(path)
    for width in (360, 768, 1440):
        opened.set_viewport_size({"width": width, "height": 800})
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        boxes = [cell.bounding_box() for cell in opened.locator("tbody tr:first-child td").all()]
        sides = [(box["x"], box["x"] + box["width"]) for box in boxes if box]
        picture = opened.locator(".go img").first.bounding_box()
        assert sides[0][1] >= picture["x"] + picture["width"]  # it covers no word
        assert max(right for _, right in sides) <= width
        opened.locator(".slider").fill("1")  # no event
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        opened.locator(".own").click()


def test_the_page_of_the_run_is_linked_where_there_is_one(scored, page, tmp_path):
    run = tmp_path / "runs" / "my run"
    run.mkdir(parents=True)
    found = scored(provenance={"run": str(run)})
    assert "About this run" not in page(found)[0].read_text(encoding="utf-8")
    (run / "model-card.html").touch()
    _, parsed = page(found)
    assert [a["href"] for tag, a in parsed.tags if tag == "a"] == [
        "../runs/my%20run/model-card.html"
    ]
