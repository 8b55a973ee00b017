"""The HTML of the report. Everything that comes from outside passes through `escape` or `_data`.

The page allows itself its own style and script, by their hashes, and data that it carries; a
browser refuses all else, whatever a name or a caption might try.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from typing import Any

from vad.version import VERSION

from ..axis import axis_of, height_of
from ..scores import VideoScores, exact
from ..times import clock, timecode
from ..video.copies import Copies, peak_picture
from .curve import around, curve, steps, svg


def head(videos: Sequence[VideoScores]) -> str:
    """Everything before the first video."""
    style, script = _resource("report.css"), _resource("report.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; media-src blob: file: 'self'; base-uri 'none'; form-action 'none'"
    )
    first = videos[0]
    title = first.video if len(videos) == 1 else f"{len(videos)} videos"
    n_events = sum(len(scores.events) for scores in videos)
    made = datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0")
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="vad {VERSION}">
<title>{escape(title)} &ndash; anomaly report</title>
<style>{style}</style>
<header>
<p class="brand">Anomaly report</p>
<h1><bdi>{escape(title)}</bdi></h1>
<p class="lede">{_events(n_events)} where the score of <b>{escape(first.detector)}</b> reaches
{first.threshold:.3f}. Made {made}.</p>
</header>
<main>
"""


def overview(videos: Sequence[VideoScores]) -> str:
    """A row for every video: its curve, its highest score, its events."""
    rows, axis = [], axis_of(videos)
    for number, scores in enumerate(videos, start=1):
        n_events = len(scores.events)
        rows.append(
            f'<li><a href="#video-{number}"><span class="name"><bdi>{escape(scores.video)}</bdi>'
            f"</span>{svg('spark', (0, 1), curve(scores, axis))}"
            f'<span class="number">{scores.peak:.2f}</span>'
            f'<span class="count">{_events(n_events)}</span></a></li>\n'
        )
    return f'<nav aria-label="Videos"><ol class="overview">\n{"".join(rows)}</ol></nav>\n'


def section(number: int, scores: VideoScores, copies: Copies, address: str) -> str:
    """One video: player, curve, events, provenance."""
    record, axis = scores.record, axis_of([scores])
    facts = (
        f"{timecode(record.duration_s)[:-4]} · {record.width}&times;{record.height} · "
        f"{record.fps:.4g} frames a second"
    )
    return f"""<section id="video-{number}" class="video" aria-labelledby="name-{number}">
<div class="title"><h2 id="name-{number}"><bdi>{escape(scores.video)}</bdi></h2>
<p>{facts}<span class="count"> · {_events(len(scores.events))}</span></p></div>
<div class="stage">
{_player(number, copies, address)}
<div class="chart">
<p class="readout"><output class="score" aria-label="score">{scores.peak:.2f}</output>
<span class="meter"><span class="fill"></span><span class="mark"></span></span>
<output class="clock" aria-label="time">0:00.0</output></p>
<div class="plot" role="slider" tabindex="0" aria-label="Position in the video, in seconds"
 aria-valuemin="0" aria-valuemax="{record.duration_s:.1f}" aria-valuenow="0">
{svg("curve", (0, 1), f'<g id="curve-{number}">{curve(scores, axis)}</g>')}
<span class="scale top">{axis[1]:g}</span>
<span class="scale limit">{scores.threshold:.2g}</span><span class="scale bottom">{axis[0]:g}</span>
<span class="head"></span><span class="hint"></span>
</div>
<div class="axis" aria-hidden="true"></div>
<p class="tools"><button class="in" title="Magnify (+)">+</button><button class="out"
 title="Reduce (-)">&minus;</button><button class="all" title="Whole video (0)">All</button>
<span class="saying"></span></p>
</div>
</div>
{_event_table(number, scores, copies)}
{_provenance(scores)}
<script type="application/json" class="data">{_data(_numbers(scores))}</script>
</section>
"""


def foot() -> str:
    """Everything after the last video."""
    keys = (
        ("space", "play or pause"),
        ("← →", "a second (shift: five)"),
        (", .", "a frame"),
        ("n p", "next, previous event"),
        ("+ - 0", "magnify, reduce, whole video"),
    )
    listed = "".join(f"<li><kbd>{key}</kbd> {words}</li>" for key, words in keys)
    return f"""</main>
<footer><ul class="keys">{listed}</ul>
<p>Scores are statements of likelihood about pictures, not about people: a person should look before
anyone acts on one. Made by vad {VERSION}.</p>
<noscript><p>Without JavaScript the page shows curves and events, but plays no video.</p></noscript>
</footer>
<script>{_resource("report.js")}</script>
"""


def _player(number: int, copies: Copies, address: str) -> str:
    poster = f' poster="{_image(copies.poster)}"' if copies.poster else ""
    video = f'<video controls playsinline preload="metadata"{poster}'
    if copies.preview:
        copy = base64.b64encode(copies.preview).decode("ascii")
        return (
            f'<div class="player">{video}></video></div>\n'
            f'<script type="text/plain" class="preview">{copy}</script>'
        )
    if address:
        return (
            f'<div class="player">{video} src="{escape(address)}"></video>'
            "<p>It is not part of this page: it plays from a file of its own.</p></div>"
        )
    return (
        '<div class="player gone"><p>The video could not be read when this page was made.</p></div>'
    )


def _event_table(number: int, scores: VideoScores, copies: Copies) -> str:
    if not scores.events:
        return '<p class="calm">No score reaches the threshold.</p>'
    captioned = any(event.caption for event in scores.events)
    rows = []
    for index, event in enumerate(scores.events):
        picture = (
            f'<img src="{_image(copies.thumbnails[index])}" alt="" loading="lazy">'
            if copies.thumbnails
            else ""
        )
        times = f"{event.start_s:.1f}&ndash;{event.end_s:.1f} s"
        when = f"{clock(event.start_s)}&ndash;{clock(event.end_s)}"
        caption = f'<td class="seen"><bdi>{escape(event.caption)}</bdi></td>' if captioned else ""
        rows.append(
            f'<tr data-event="{index}"><td><button class="go" aria-label="Event {index + 1}, '
            f'{times}">{picture}<span>{index + 1}</span></button></td>'
            f'<td class="number">{when}<small>{times}</small></td>'
            f'<td class="number"><b>{event.peak:.2f}</b><small>mean {event.mean:.2f}</small></td>'
            f"{caption}"
            f'<td class="number quiet">{event.start_frame}&ndash;{event.end_frame - 1}</td>'
            f'<td class="around">{around(number, event, scores.record.duration_s)}</td></tr>\n'
        )
    return (
        '<div class="scroll"><table class="events"><thead><tr><th>Event</th><th>When</th>'
        f"<th>Score</th>{'<th>What is seen</th>' if captioned else ''}<th>Frames</th>"
        '<th class="around">Around it</th></tr></thead>'
        f"<tbody>\n{''.join(rows)}</tbody></table></div>"
    )


def _provenance(scores: VideoScores) -> str:
    record, rule, how = scores.record, scores.rule, scores.propagation
    low = "" if rule.low is None else f", going on from {rule.low:g}"
    smoothing = how.propagation + (f", {how.sigma:g} s" if how.propagation == "gaussian" else "")
    told = {
        "video": f"{record.source} ({record.source_bytes:,} bytes)",
        "sha256": record.source_sha256,
        "decoded": f"{record.n_frames} frames of {record.codec} in {record.container}, "
        f"by {record.decoder}",
        "threshold": f"{scores.threshold:.6g}, "
        + ("that of the run" if scores.threshold_from == "run" else "given"),
        "events": f"at least {rule.min_event:g} s, joined over {rule.merge_gap:g} s, padded "
        f"{rule.pad_before:g} s before and {rule.pad_after:g} s after{low}",
        "frames": smoothing,
        **{str(name): value for name, value in scores.provenance.items()},
        "vad": VERSION,
    }
    return f"<details><summary>How this was made</summary>{_list(told)}</details>"


def _list(values: Mapping[str, Any]) -> str:
    """Nested settings as nested definition lists, without those that say nothing."""
    items = "".join(
        f"<dt>{escape(str(name))}</dt><dd>"
        f"{_list(value) if isinstance(value, Mapping) else escape(_words(value))}</dd>"
        for name, value in values.items()
        if value not in (None, "")
    )
    return f"<dl>{items}</dl>"


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _numbers(scores: VideoScores) -> dict[str, Any]:
    """What the script of the page needs."""
    starts, heights = steps(scores)
    return {
        "duration": scores.record.duration_s,
        "fps": scores.record.fps,
        "threshold": scores.threshold,
        "starts": [round(float(s), 6) for s in starts],
        "scores": [exact(h) for h in heights],
        "limit": height_of(scores.threshold, axis_of([scores])),
        "peak": float(scores.times[peak_picture(scores)]),
        "events": [
            {"start": e.start_s, "end": e.end_s, "caption": e.caption} for e in scores.events
        ],
    }


def _data(value: Any) -> str:
    """JSON that cannot end the script element it is in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("&", "\\u0026")


def _image(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _events(n: int) -> str:
    return f"{n or 'no'} event{'' if n == 1 else 's'}"


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
