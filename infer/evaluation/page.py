"""The page of an evaluation: one HTML file with figures, plots and every video, nothing to fetch.

Everything that comes from outside is escaped, and the page allows itself nothing but its own style
and pictures, so a video may be called anything.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.files import write_text
from vad.labels import intervals_of
from vad.version import VERSION

from ..scores import VideoScores
from ..times import clock
from .plots import SERIES, TICK_STEPS_S
from .result import Evaluation
from .tables import lines

WIDTH, HEIGHT = 1000, 90  # of a curve, in its own units
MOST_STEPS = 500  # of a curve; a long video is drawn by the highest score of every few frames

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
STYLE = """
:root { --ground: #faf9f7; --card: #fff; --ink: #1d2126; --quiet: #656b74; --line: #e0ddd6;
  --truth: #e69f0055; --warn: #b3261e; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 0 clamp(16px, 4vw, 48px) 60px; max-width: 1280px;
  background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto,
  "DejaVu Sans", sans-serif; font-variant-numeric: tabular-nums; }
h1 { font-size: 28px; margin: 32px 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 40px 0 12px; }
p { margin: 4px 0; color: var(--quiet); max-width: 75ch; }
.warn { background: var(--warn); color: #fff; padding: 10px 16px; border-radius: 6px;
  font-weight: 600; margin: 16px 0; max-width: none; }
.wide { overflow-x: auto; }
.tables { columns: 2 480px; column-gap: 16px; }
.tables table { width: 100%; margin-bottom: 16px; break-inside: avoid; }
table { border-collapse: collapse; font-size: 14px; background: var(--card);
  border: 1px solid var(--line); }
th, td { padding: 2px 12px; text-align: right; white-space: nowrap; font-weight: normal; }
thead th { white-space: normal; }
th:first-child, td:first-child { text-align: left; }
thead th { font-weight: 600; border-bottom: 2px solid var(--line); vertical-align: bottom; }
td.left { text-align: left; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(540px, 100%), 1fr));
  gap: 16px; align-items: start; }
.plots img { width: 100%; border: 1px solid var(--line); background: #fff; }
.key { display: inline-block; width: 28px; height: 10px; margin: 0 6px 0 14px; }
figure { margin: 0 0 14px; padding: 8px 12px; background: var(--card);
  border: 1px solid var(--line); }
figcaption { display: flex; gap: 16px; justify-content: space-between; font-size: 14px; }
figcaption b { font-weight: 600; overflow-wrap: anywhere; }
figcaption span { color: var(--quiet); white-space: nowrap; }
svg { display: block; width: 100%; height: 110px; }
.times { position: relative; height: 18px; color: var(--quiet); font-size: 12px; }
.times span { position: absolute; transform: translateX(-50%); }
.times span:first-child { transform: none; }
"""


def write_page(
    path: Path,
    evaluations: Sequence[Evaluation],
    figures: Sequence[Mapping[str, Any]],
    drawn: Sequence[Path],
) -> Path:
    """Write the page of one result, or of several side by side; its path.

    figures are what the evaluations' `to_dict` gave, drawn the PNG files to put in.
    """
    write_text(path, "".join(_parts(evaluations, figures, drawn)))
    return path


def _parts(
    evaluations: Sequence[Evaluation],
    figures: Sequence[Mapping[str, Any]],
    drawn: Sequence[Path],
) -> Iterator[str]:
    title = " and ".join(dict.fromkeys(e.name for e in evaluations))
    yield (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Evaluation: {escape(title)}</title>\n<style>{STYLE}</style>\n"
        f"<h1>{escape(title)}</h1>\n"
    )
    counts = figures[0]["counts"]
    yield (
        f"<p>{counts['n_videos']} {escape(evaluations[0].split)} videos, "
        f"{counts['n_abnormal_videos']} of them abnormal; {counts['n_frames']:,} frames, "
        f"{counts['n_anomalous_frames']:,} of them anomalous by "
        f"{escape(evaluations[0].truth_from)}. vad {VERSION}.</p>\n"
    )
    for evaluation in evaluations:
        if evaluation.stamp:
            yield f'<p class="warn">{escape(evaluation.name)}: {_warning(evaluation)}</p>\n'
    yield "<h2>Figures</h2>\n" + _tables(figures)
    yield (
        "<p>In brackets the 95 % interval over other test videos of the same kind. The oracle "
        "knows the label of each video and nothing about time: a frame figure near it says that "
        "videos were told apart, not moments. The best threshold in hindsight was read off the "
        "truth: it is what was possible.</p>\n"
    )
    yield '<h2>Plots</h2>\n<div class="plots">\n' + "".join(map(_image, drawn)) + "</div>\n"
    for evaluation, found in zip(evaluations, figures, strict=True):
        of = f" of {escape(evaluation.name)}" if len(evaluations) > 1 else ""
        yield _moments(f"Worst false alarms{of}", found["worst"]["false_alarms"])
        yield _moments(f"Longest misses{of}", found["worst"]["misses"])
    yield "<h2>Videos</h2>\n" + _key(evaluations)
    yield from _videos(evaluations)


def _warning(evaluation: Evaluation) -> str:
    if evaluation.selected_on == "test":
        return (
            "selected on test: its epoch and threshold were chosen on the videos it is measured "
            "on, so its figures are too good. Do not set them beside honest ones."
        )
    return f"{escape(evaluation.stamp)}: what it has learnt from says nothing of new videos."


def _tables(figures: Sequence[Mapping[str, Any]]) -> str:
    """A small table for every section of figures."""
    heads = "".join(f"<th>{escape(_head(found))}</th>" for found in figures)
    sections: list[list[str]] = []
    for line in lines(figures):
        if line.heading:
            sections.append([f"<thead><tr><th>{escape(line.name)}</th>{heads}</tr></thead>\n"])
        else:
            values = "".join(f"<td>{escape(value)}</td>" for value in line.values)
            sections[-1].append(f"<tr><td>{escape(line.name)}</td>{values}</tr>\n")
    tables = "".join(f"<table>{''.join(rows)}</table>\n" for rows in sections)
    return f'<div class="tables">\n{tables}</div>\n'


def _head(found: Mapping[str, Any]) -> str:
    return f"{found['name']}, {found['stamp']}" if found["stamp"] else str(found["name"])


def _image(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{escape(path.stem)}">\n'


def _moments(title: str, moments: Sequence[Mapping[str, Any]]) -> str:
    if not moments:
        return f"<h2>{title}</h2>\n<p>None.</p>\n"
    rows = "".join(
        f'<tr><td>{escape(m["video"])}</td><td class="left">{escape(m["category"])}</td>'
        f"<td>{m['start_timecode']}</td><td>{m['end_timecode']}</td>"
        f"<td>{m['duration_s']:.1f}</td><td>{m['peak']:.3f}</td></tr>\n"
        for m in moments
    )
    head = (
        "<th>video</th><th>kind</th><th>from</th><th>to</th><th>seconds</th><th>highest score</th>"
    )
    return (
        f'<h2>{title}</h2>\n<div class="wide"><table><thead><tr>{head}</tr></thead>\n{rows}'
        "</table></div>\n"
    )


def _key(evaluations: Sequence[Evaluation]) -> str:
    colors = zip(evaluations, SERIES * len(evaluations), strict=False)
    runs = "".join(
        f'<span class="key" style="background:{color}"></span>{escape(evaluation.name)}'
        for evaluation, color in colors
    )
    truth = '<span class="key" style="background:var(--truth)"></span>anomalous by the truth'
    low, high = _range(evaluations)
    scale = f"Curves reach from {low:.3f} at the bottom to {high:.3f} at the top"
    return f"<p>{truth}{runs}. {scale}; the threshold is dashed.</p>\n"


def _videos(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """A curve for every video: the abnormal ones first, each by its name."""
    first, span = evaluations[0], _range(evaluations)
    scores = [{s.video: s for s in evaluation.scores} for evaluation in evaluations]
    order = sorted(
        range(len(first.labels)), key=lambda i: (-first.labels[i].label, first.labels[i].video)
    )
    clocks = first.times_s
    for index in order:
        label, clock, truth = first.labels[index], clocks[index], first.truth[index]
        length_s = float(clock[-1]) or 1.0
        shades = "".join(
            f'<rect x="{clock[a] / length_s * WIDTH:.1f}" '
            f'width="{(clock[b] - clock[a]) / length_s * WIDTH:.1f}" y="0" height="{HEIGHT}" '
            'fill="var(--truth)"/>'
            for a, b in intervals_of(truth)
        )
        curves = "".join(
            _curve(of_run[label.video], clock, span, number) for number, of_run in enumerate(scores)
        )
        peaks = ", ".join(f"{of_run[label.video].peak:.2f}" for of_run in scores)
        yield (
            f"<figure><figcaption><b>{escape(label.video)}</b><span>"
            f"{escape(label.category or ('abnormal' if label.label else 'normal'))}, "
            f"highest {peaks}</span></figcaption>\n"
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
            f'aria-label="score over time">{shades}{curves}</svg>\n'
            f'<div class="times">{_times(length_s)}</div></figure>\n'
        )


def _range(evaluations: Sequence[Evaluation]) -> tuple[float, float]:
    """The lowest and highest score or threshold of all videos, so that curves can be compared."""
    every = [s for evaluation in evaluations for s in evaluation.scores]
    low = min(min(float(s.snippets.min()), s.threshold) for s in every)
    high = max(max(float(s.snippets.max()), s.threshold) for s in every)
    return low, high if high > low else low + 1


def _curve(
    scores: VideoScores, clock: NDArray[np.float64], span: tuple[float, float], number: int
) -> str:
    """Steps of the score, and a dashed line at the threshold, from the bottom to the top of a span.

    clock [frames + 1], when every frame is shown and the last one ends
    """
    frames = scores.frames
    starts = np.flatnonzero(np.diff(frames, prepend=np.float32(-1)))
    if len(starts) > MOST_STEPS:
        starts = np.arange(0, len(frames), -(-len(frames) // MOST_STEPS))
    values = np.append(np.maximum.reduceat(frames, starts), scores.threshold)
    x = clock[np.append(starts, len(frames))] / (float(clock[-1]) or 1.0) * WIDTH
    *y, line = HEIGHT - 2 - (values - span[0]) / (span[1] - span[0]) * (HEIGHT - 4)
    path = f"M{x[0]:.1f} {y[0]:.1f}" + "".join(
        f"V{level:.1f}H{end:.1f}" for level, end in zip(y, x[1:], strict=True)
    )
    stroke = f'stroke="{SERIES[number % len(SERIES)]}" fill="none"'
    stroke += ' vector-effect="non-scaling-stroke"'
    return (
        f'<path d="M0 {line:.1f}H{WIDTH}" stroke-dasharray="5 4" {stroke}/>'
        f'<path d="{path}" stroke-width="1.6" {stroke}/>'
    )


def _times(length_s: float) -> str:
    step_s = next((s for s in TICK_STEPS_S if length_s / s <= 10), TICK_STEPS_S[-1])
    return "".join(
        f'<span style="left:{time_s / length_s * 100:.2f}%">{clock(time_s, step_s)}</span>'
        for time_s in np.arange(0, length_s * 0.98, step_s)
    )
