"use strict";

// The rule of `infer/events.py` in JavaScript: both must find the same events, which a test checks.
// Times are whole microseconds, to which Python rounds them as well; scores and limits are compared
// as float32, as NumPy does.

// Return the events of a video in order of time.
//
// scores: Float32Array [frames]; edges: times in microseconds [frames + 1] at which frames begin and
// the last one ends; prior: the assumed share of anomalous footage, or null; rule: the settings of
// `EventRule`. Python refuses a `low` above the threshold; here it counts as the threshold, since the
// reader moves it.
function findEvents(scores, edges, threshold, prior, rule) {
  const low = rule.low === null ? lowerLevel(threshold, prior) : Math.min(rule.low, threshold);
  const found = spansFrom(scores, low)
    .filter(([start, end]) => scores.subarray(start, end).some((score) => score >= Math.fround(threshold)));
  const long = joined(found, edges, rule.merge_gap)
    .filter(([start, end]) => seconds(edges, start, end) >= rule.min_event);
  return joined(long.map((span) => padded(span, edges, rule)), edges, 0)
    .map((span) => described(span, scores, edges));
}

// Return the score down to which an event lasts: it has a third of the threshold's evidence.
function lowerLevel(threshold, prior) {
  if (prior === null || !(prior < threshold && threshold < 1)) return threshold;
  const odds = (prior / (1 - prior)) ** (2 / 3) * (threshold / (1 - threshold)) ** (1 / 3);
  return Math.min(threshold, odds / (1 + odds));  // rounding must not lift it above
}

// Return the spans [start, end) of frames whose scores reach a limit.
function spansFrom(scores, limit) {
  const spans = [], least = Math.fround(limit);
  for (let frame = 0; frame < scores.length; frame++) {
    if (scores[frame] < least) continue;
    if (spans.length && spans.at(-1)[1] === frame) spans.at(-1)[1] = frame + 1;
    else spans.push([frame, frame + 1]);
  }
  return spans;
}

// Join spans, in order of time, if the gap between them is at most `gap` seconds.
function joined(spans, edges, gap) {
  const whole = [];
  for (const [start, end] of spans) {
    const last = whole.at(-1);
    if (last && seconds(edges, last[1], start) <= gap) last[1] = Math.max(end, last[1]);
    else whole.push([start, end]);
  }
  return whole;
}

// Return the frames that are shown at least partly during the padded time.
function padded([start, end], edges, rule) {
  const first = rounded((edges[start] / 1e6 - rule.pad_before) * 1e6);
  const last = rounded((edges[end] / 1e6 + rule.pad_after) * 1e6);
  return [
    Math.max(0, Math.min(start, countFrom(edges, (edge) => edge <= first) - 1)),
    Math.min(edges.length - 1, Math.max(end, countFrom(edges, (edge) => edge < last))),
  ];
}

function described([start, end], scores, edges) {
  let peakFrame = start, sum = 0;
  for (let frame = start; frame < end; frame++) {
    if (scores[frame] > scores[peakFrame]) peakFrame = frame;
    sum += scores[frame];
  }
  return {
    startFrame: start, endFrame: end, start: edges[start] / 1e6, end: edges[end] / 1e6,
    peak: scores[peakFrame], peakFrame, peakTime: edges[peakFrame] / 1e6, mean: sum / (end - start),
  };
}

function seconds(edges, start, end) {
  return (edges[end] - edges[start]) / 1e6;
}

// Return how many values at the beginning of a sorted array meet a condition, by bisection.
function countFrom(sorted, meets) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (meets(sorted[middle])) low = middle + 1; else high = middle;
  }
  return low;
}

// Round to the nearest whole number; halves go to the even one, as in NumPy.
function rounded(value) {
  const below = Math.floor(value), rest = value - below;
  return rest === 0.5 ? below + Math.abs(below % 2) : Math.round(value);
}
