// --- the page: what holds for all its videos

const page = {
  threshold: null, // null: every video has its own
  order: "time", // of the events in the tables: "time" or "score"
  tinted: true, // the picture, where the score of an event comes from
  videos: [],
  current: null, // the video that the keys act on
  unsaved: false, // true if there are verdicts that reviews.csv, as it was last saved, lacks

  // Find the events of all videos again, and show them. A threshold of null is that of each video.
  redo({ threshold = page.threshold, order = page.order } = {}) {
    Object.assign(page, { threshold, order });
    for (const video of page.videos) video.redo();
    page.controls.redraw();
  },
};

// The controls above the videos: threshold, order of the events, and the verdicts to save.
function controlsPanel() {
  const find = (name) => document.querySelector(".controls " + name);
  const slider = find(".slider"), exact = find(".exact"), own = find(".own"), save = find(".download");
  const total = document.querySelector(".total"), at = document.querySelector(".lede .at");
  const limit = at.textContent;
  const events = () => page.videos.flatMap((video) => video.events.map((event) => [video, event]));
  const panel = {
    redraw() {
      own.hidden = page.threshold === null;
      at.textContent = own.hidden ? limit : page.threshold;
      total.textContent = counted(events().length);
      exact.value = page.threshold ?? (isNaN(limit) ? "" : limit);
      slider.value = page.threshold ?? page.videos[0].data.threshold;
      find(".promise").textContent = exact.value && page.videos[0].readingOf(Number(exact.value));
      panel.judged();
    },

    judged() {
      const found = events(), judged = found.filter(([video, event]) => video.reviewOf(event));
      find(".reviewed").textContent = found.length ? `${judged.length} of ${found.length} reviewed` : "";
      save.disabled = page.videos.every((video) => video.reviews.length === 0);
    },
  };
  slider.addEventListener("input", () => page.redo({ threshold: Number(slider.value) }));
  exact.addEventListener("change", () => {
    const value = exact.value === "" ? null : Math.min(1, Math.max(0, Number(exact.value)));
    page.redo({ threshold: value });
  });
  own.addEventListener("click", () => {
    page.redo({ threshold: null });
    slider.focus();
  });
  find(".order select").addEventListener("change", (event) => page.redo({ order: event.target.value }));
  save.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([reviewsCsv(page.videos)], { type: "text/csv" }));
    link.download = "reviews.csv";
    link.click();
    URL.revokeObjectURL(link.href);
    page.unsaved = false;
  });
  window.addEventListener("beforeunload", (event) => { if (page.unsaved) event.preventDefault(); });
  find("").hidden = false;
  return panel;
}

// Return reviews.csv: a row per verdict, with the event as it was when the verdict was given.
function reviewsCsv(videos) {
  const rows = [["video", "start_frame", "end_frame", "start_s", "end_s", "verdict"]];
  for (const video of videos) {
    const sorted = [...video.reviews].sort((a, b) => a.startFrame - b.startFrame);
    for (const { startFrame, endFrame, start, end, verdict } of sorted) {
      rows.push([video.data.video, startFrame, endFrame, start, end, verdict]);
    }
  }
  const quoted = (value) => /[",]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
  return rows.map((row) => row.map(quoted).join(",") + "\n").join("");
}

// --- a video and its panels
//
// A panel shows one side of a video. It is a function that takes the video and returns an object
// with any of: `show(time)`, called when the position in the video changes, `redraw()`, called when
// the events change, and `judged()`, called when verdicts on events change.

class Video {
  constructor(section) {
    this.section = section;
    this.data = JSON.parse(this.find(".data").textContent);
    this.edges = Float64Array.from(this.data.edges);
    for (let frame = 1; frame < this.edges.length; frame++) this.edges[frame] += this.edges[frame - 1];
    this.scores = new Float32Array(this.edges.length - 1);
    const { starts, scores } = this.data; // a score holds up to the next start
    starts.forEach((start, index) => this.scores.fill(scores[index], start, starts[index + 1]));
    this.events = [];
    this.reviews = []; // events with a verdict, "confirmed" or "dismissed"; they do not overlap
    this.time = 0;
    this.player = playerPanel(this);
    this.curve = curvePanel(this);
    this.panels = [
      this.player, this.curve, heatPanel(this), readoutPanel(this), eventsPanel(this),
      calmPanel(this), overviewPanel(this),
    ];
    section.addEventListener("focusin", () => { page.current = this; });
    section.addEventListener("pointerdown", () => { page.current = this; });
  }

  find(selector) { return this.section.querySelector(selector); }

  get threshold() { return page.threshold ?? this.data.threshold; }

  redo() {
    this.events = findEvents(this.scores, this.edges, this.threshold, this.data.prior, this.data.rule);
    for (const event of this.events) event.caption = this.captionAt(event.peakFrame);
    for (const panel of this.panels) panel.redraw?.();
    this.show(this.time);
  }

  show(time) {
    this.time = time;
    for (const panel of this.panels) panel.show?.(time);
  }

  seek(time) {
    this.show(Math.min(this.data.duration, Math.max(0, time)));
    this.player.seek();
  }

  step(direction) { // to the next or the previous event
    const starts = this.events.map((event) => event.start);
    const index = direction > 0 ? starts.findIndex((start) => start > this.time + 0.01)
      : starts.findLastIndex((start) => start < this.time - 0.5);
    if (index >= 0) this.seek(starts[index]);
  }

  // Give an event a verdict, which replaces those that it overlaps; the same one again removes it.
  judge(event, verdict) {
    const same = this.reviewOf(event)?.verdict === verdict;
    this.reviews = this.reviews
      .filter((old) => old.endFrame <= event.startFrame || old.startFrame >= event.endFrame);
    if (!same) this.reviews.push({ ...event, verdict });
    page.unsaved = true;
    for (const panel of [...this.panels, page.controls]) panel.judged?.();
  }

  // Return the review that holds for an event: an event keeps its verdict when the threshold moves
  // its ends.
  reviewOf(event) {
    return this.reviews.find((old) => old.startFrame <= event.peakFrame && event.peakFrame < old.endFrame);
  }

  frameAt(time) {
    const frame = countFrom(this.edges, (edge) => edge <= time * 1e6 + 1e3) - 1;
    return Math.min(this.scores.length - 1, Math.max(0, frame));
  }

  scoreAt(time) { return this.scores[this.frameAt(time)]; }

  eventAt(time) { // the index of the event at a time, or -1
    return this.events.findIndex((event) => event.start <= time + 1e-3 && time < event.end);
  }

  // Say how often normal footage reaches a score; "" if the run does not know.
  readingOf(score) {
    const { levels, words } = this.data.readings;
    if (!words.length) return "";
    return score > levels.at(-1) ? words.at(-1) : words[Math.max(0, countFrom(levels, (level) => level <= score) - 1)];
  }

  snippetAt(frame) { return countFrom(this.data.first_frames, (first) => first <= frame) - 1; }

  // The kind of an event and its share, as `Kinds.of` tells them; "" if the scores have no kinds.
  kindOf(event) {
    const { kinds } = this.data;
    if (!kinds) return "";
    const sums = kinds.names.map(() => 0);
    for (let i = this.snippetAt(event.startFrame); i <= this.snippetAt(event.endFrame - 1); i++) {
      for (let k = 1; k < sums.length; k++) sums[k] += kinds.shares[i][k];
    }
    const total = sums.reduce((a, b) => a + b, 0) || 1;
    const best = sums.indexOf(Math.max(...sums.slice(1)), 1);
    const share = sums[best] / total;
    return `${share >= kinds.least ? kinds.names[best] : "other"} ${Math.round(100 * share)} %`;
  }

  // What a captioner says of an event; undefined if nothing.
  explanationOf(event) {
    return this.data.explained
      .find((told) => told.start_frame <= event.peakFrame && event.peakFrame < told.end_frame);
  }

  captionAt(frame) { return this.data.captions[this.snippetAt(frame)] ?? ""; }
}

// The player. Its copy of the video, which is in the page, becomes a file when it is first needed.
function playerPanel(video) {
  const player = video.find("video");
  if (!player) return { load() {}, place() {}, seek() {}, play() {}, toggle() {}, draw() {} };
  const waiting = []; // pictures to draw
  let second = null; // a player that is not shown and draws them
  const panel = {
    element: player,

    load() {
      const copy = video.find(".preview");
      if (!copy) return;
      const bytes = Uint8Array.from(atob(copy.textContent), (c) => c.charCodeAt(0));
      copy.remove();
      player.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
      panel.place();
    },

    place() {
      // A hair into the frame, so that rounding shows it and not the one before.
      if (player.src) player.currentTime = Math.min(video.time + 0.001, video.data.duration);
    },

    seek() {
      panel.load();
      panel.place();
    },

    play() { player.play().catch(() => {}); },

    toggle() {
      panel.load();
      if (player.paused) panel.play(); else player.pause();
    },

    // Draw the picture at a time on a canvas, then call `done`.
    draw(time, canvas, done) {
      waiting.push({ time, canvas, done });
      if (waiting.length === 1) next();
    },
  };
  const next = () => {
    if (!second) {
      panel.load();
      second = document.createElement("video");
      second.addEventListener("seeked", drawn);
      second.src = player.src;
    }
    second.currentTime = waiting[0].time + 0.001;
  };
  const drawn = () => {
    const { canvas, done } = waiting.shift();
    canvas.height = canvas.width * second.videoHeight / second.videoWidth;
    canvas.getContext("2d").drawImage(second, 0, 0, canvas.width, canvas.height);
    done();
    if (waiting.length) next();
  };
  const follow = () => { // while it plays, more often than "timeupdate" says
    video.show(player.currentTime);
    if (!player.paused && !player.ended) requestAnimationFrame(follow);
  };
  player.addEventListener("timeupdate", () => video.show(player.currentTime));
  player.addEventListener("seeking", () => video.show(player.currentTime));
  player.addEventListener("play", follow);
  return panel;
}

// Where the score of an event comes from: a tint over the picture, smooth between the cells.
function heatPanel(video) {
  const canvas = video.find(".heat"), where = video.data.where;
  if (!canvas) return {};
  const tints = Uint8Array.from(atob(where.tints), (c) => c.charCodeAt(0));
  const cells = document.createElement("canvas"), n = where.rows * where.columns;
  [cells.width, cells.height] = [where.columns, where.rows];
  const [left, top, right, bottom] = where.view;
  let drawn = -1; // the snippet
  return {
    show(time) {
      canvas.hidden = !page.tinted || video.eventAt(time) < 0;
      if (canvas.hidden) return;
      const player = video.player.element;
      const box = [player.offsetLeft, player.offsetTop, player.offsetWidth, player.offsetHeight];
      ["left", "top", "width", "height"].forEach((side, i) => { canvas.style[side] = box[i] + "px"; });
      const snippet = video.snippetAt(video.frameAt(time));
      if (snippet === drawn) return;
      drawn = snippet;
      const small = cells.getContext("2d"), pixels = small.createImageData(cells.width, cells.height);
      for (let i = 0; i < n; i++) pixels.data.set([255, 107, 74, tints[snippet * n + i]], 4 * i);
      small.putImageData(pixels, 0, 0);
      const context = canvas.getContext("2d"), { width, height } = canvas;
      context.clearRect(0, 0, width, height);
      context.drawImage(
        cells, left * width, top * height, (right - left) * width, (bottom - top) * height);
    },
  };
}

// The score, the bar and the clock above the curve, and the event at this time below it.
function readoutPanel(video) {
  const [score, clock, fill, mark, saying, reading] = ["score", "clock", "fill", "mark", "saying", "reading"]
    .map((name) => video.find("." + name));
  return {
    redraw() { mark.style.left = 100 * video.threshold + "%"; },

    show(time) {
      const value = video.scoreAt(time), now = video.eventAt(time);
      score.textContent = value.toFixed(2);
      score.classList.toggle("high", value >= Math.fround(video.threshold));
      reading.textContent = video.readingOf(value);
      clock.textContent = words(time, 0.1);
      fill.style.width = 100 * value + "%";
      const caption = now < 0 ? "" : video.events[now].caption;
      saying.textContent = now < 0 ? "" : `event ${now + 1}` + (caption ? `: ${caption}` : "");
    },
  };
}

// The curve: the part of it that is shown, the position in the video, and times below.
function curvePanel(video) {
  const plot = video.find(".plot"), svg = video.find(".curve"), axis = video.find(".axis");
  const head = video.find(".head"), hint = video.find(".hint"), limit = video.find(".scale.limit");
  const whole = video.data.duration;
  let from = 0, to = whole; // the part that is shown, in seconds

  const place = (element, time) => { element.style.left = 100 * (time - from) / (to - from) + "%"; };
  const panel = {
    show(time) {
      plot.setAttribute("aria-valuenow", time.toFixed(1));
      plot.setAttribute("aria-valuetext", `${words(time, 0.1)}, score ${video.scoreAt(time).toFixed(2)}`);
      if (time < from || time > to) panel.zoom(1, time);
      place(head, time);
    },

    redraw() {
      drawEvents(video, svg);
      limit.textContent = video.threshold.toFixed(2);
      limit.style.top = 100 * (1 - video.threshold) + "%";
    },

    judged() { drawEvents(video, svg); },

    zoom(factor, around = video.time) {
      const length = Math.min(whole, Math.max(Math.min(1, whole), (to - from) * factor));
      const share = around >= from && around <= to ? (around - from) / (to - from) : 0.5;
      from = Math.min(whole - length, Math.max(0, around - share * length));
      to = from + length;
      panel.resize();
    },

    resize() { // show the part, and round times below it
      const scale = 1000 / whole, length = to - from;
      svg.setAttribute("viewBox", `${from * scale} 0 ${Math.max(1e-3, length * scale)} 100`);
      const room = Math.max(2, Math.floor(axis.clientWidth / 80));
      const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400]
        .find((seconds) => length / seconds <= room) || 28800;
      const marks = [];
      for (let index = Math.ceil(from / step); index * step <= to; index++) {
        const mark = document.createElement("span");
        mark.textContent = words(index * step, step);
        place(mark, index * step);
        const half = `${mark.textContent.length / 2}ch`; // labels at the ends stay inside
        mark.style.left = `clamp(${half}, ${mark.style.left}, 100% - ${half})`;
        marks.push(mark);
      }
      axis.replaceChildren(...marks);
      place(head, video.time);
    },
  };

  const at = (event) => {
    const box = plot.getBoundingClientRect();
    return from + Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * (to - from);
  };
  const point = (time) => { // where the mouse is
    hint.textContent = `${words(time, 0.1)}   ${video.scoreAt(time).toFixed(2)}`;
    const share = (time - from) / (to - from);
    hint.style.left = share < 0.5 ? `calc(${100 * share}% + 10px)` : "";
    hint.style.right = share < 0.5 ? "" : `calc(${100 - 100 * share}% + 10px)`;
  };
  plot.addEventListener("pointerdown", (event) => {
    plot.setPointerCapture(event.pointerId);
    video.seek(at(event));
  });
  plot.addEventListener("pointermove", (event) => {
    if (plot.hasPointerCapture(event.pointerId)) video.seek(at(event));
    point(at(event));
  });
  plot.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls; with Ctrl, or a pinch, this
    event.preventDefault();
    panel.zoom(Math.exp(event.deltaY / 200), at(event));
  }, { passive: false });
  const tools = { ".in": 0.5, ".out": 2, ".all": Infinity };
  for (const [name, factor] of Object.entries(tools)) {
    video.find(name).addEventListener("click", () => panel.zoom(factor));
  }
  return panel;
}

// The table of events: a click on a row plays the event.
function eventsPanel(video) {
  const frame = video.find(".scroll"), body = frame.querySelector("tbody");
  const blank = frame.querySelector("template"), more = video.find(".more");
  const pictures = new Map([...body.querySelectorAll("img")].map((img) => [Number(img.dataset.frame), img]));
  let rows = new Map(); // by the index of the event
  let parts = []; // functions that draw the events into the curves beside them

  const filled = (event, index) => {
    const row = blank.content.firstElementChild.cloneNode(true);
    const write = (name, text) => { row.querySelector(name).textContent = text; };
    const seconds = `${event.start.toFixed(1)}–${event.end.toFixed(1)} s`;
    const go = row.querySelector(".go");
    go.setAttribute("aria-label", `Event ${index + 1}, ${seconds}`);
    if (video.player.element) go.prepend(pictures.get(event.peakFrame) ?? drawnPicture(event));
    write(".go span", index + 1);
    write(".when", `${words(event.start, 0.1)}–${words(event.end, 0.1)}`);
    write(".when + small", seconds);
    write(".peak", event.peak.toFixed(2));
    write(".peak + small", `mean ${event.mean.toFixed(2)}`);
    write(".kind", video.kindOf(event));
    if (video.data.captions.length) write(".seen bdi", event.caption);
    const told = video.explanationOf(event);
    if (told) {
      row.querySelector(".generated").hidden = false;
      write(".told", told.seen.join("; "));
      write(".why", told.why);
    }
    write(".frames", `${event.startFrame}–${event.endFrame - 1}`);
    write(".reading", video.readingOf(event.peak));
    row.querySelector(".around").prepend(around(event));
    row.addEventListener("click", () => {
      video.seek(event.start);
      video.player.play();
    });
    for (const button of row.querySelectorAll("[data-verdict]")) {
      button.addEventListener("click", (click) => {
        click.stopPropagation();
        video.judge(event, button.dataset.verdict);
      });
    }
    return row;
  };

  // A picture that the page does not hold, as for events below the threshold it was made with.
  const drawnPicture = (event) => {
    const canvas = document.createElement("canvas");
    canvas.width = 320;
    canvas.height = 180;
    let last = event.peakFrame; // of the frames with the same score; the middle one is shown
    while (video.scores[last + 1] === event.peak) last++;
    const time = video.edges[(event.peakFrame + last + 1) >> 1] / 1e6;
    whenNear(canvas, () => {
      video.player.draw(time, canvas, () => pictures.set(event.peakFrame, canvas));
    });
    return canvas;
  };

  const around = (event) => { // the part of the curve before and after an event
    const before = Math.max(video.data.shortest_around, event.end - event.start);
    const from = Math.max(0, event.start - before), to = Math.min(video.data.duration, event.end + before);
    const scale = 1000 / video.data.duration, line = curvePath(video, from, to);
    const viewBox = `${from * scale} 0 ${Math.max(0.01, (to - from) * scale)} 100`;
    const part = drawn("svg", { class: "part", viewBox, preserveAspectRatio: "none", "aria-hidden": true });
    part.append(
      drawn("path", { class: "area", d: `${line}V100H${from * scale}Z` }),
      drawn("path", { class: "line", d: line }), drawn("line", { class: "limit", x1: 0, x2: 1000 }));
    const redraw = () => drawEvents(video, part, from, to);
    parts.push(redraw);
    redraw();
    return part;
  };

  const panel = {
    redraw() {
      const highest = [...video.events.keys()]
        .sort((a, b) => video.events[b].peak - video.events[a].peak).slice(0, MOST_ROWS);
      if (page.order === "time") highest.sort((a, b) => a - b);
      parts = [];
      rows = new Map(highest.map((index) => [index, filled(video.events[index], index)]));
      body.replaceChildren(...rows.values());
      frame.hidden = rows.size === 0;
      more.hidden = rows.size === video.events.length;
      more.textContent = `The ${rows.size} highest of ${video.events.length} events; vad events lists all.`;
      panel.judged();
    },

    judged() {
      parts.forEach((redraw) => redraw());
      rows.forEach((row, index) => {
        const verdict = video.reviewOf(video.events[index])?.verdict ?? "";
        row.dataset.review = verdict;
        for (const button of row.querySelectorAll("[data-verdict]")) {
          button.setAttribute("aria-pressed", button.dataset.verdict === verdict);
        }
      });
    },

    show(time) {
      const now = video.eventAt(time);
      rows.forEach((row, index) => row.classList.toggle("now", index === now));
    },
  };
  return panel;
}

// What is said of a video without events: its highest score, and what to try.
function calmPanel(video) {
  const [calm, below, short, gap, watch, lower] = ["calm", "below", "short", "gap", "watch", "lower"]
    .map((name) => video.find("." + name));
  const highest = video.scores.reduce((one, other) => Math.max(one, other));
  watch.addEventListener("click", () => {
    video.seek(video.data.peak);
    video.player.play();
  });
  lower.addEventListener("click", () => page.redo({ threshold: Number(lower.dataset.threshold) }));
  return {
    redraw() {
      const reached = highest >= Math.fround(video.threshold);
      calm.hidden = video.events.length > 0;
      [below.hidden, short.hidden, lower.hidden] = [reached, !reached, reached];
      for (const at of calm.querySelectorAll(".at")) at.textContent = Number(video.threshold.toFixed(3));
      gap.textContent = (video.threshold - highest).toFixed(2);
    },
  };
}

// The row of a video in the overview, if there are several videos.
function overviewPanel(video) {
  const row = document.querySelector(`.overview a[href="#${video.section.id}"]`);
  const counts = [video.find(".title .count"), row?.querySelector(".count")];
  return {
    redraw() {
      for (const count of counts.filter(Boolean)) count.textContent = counted(video.events.length);
      if (row) drawEvents(video, row.querySelector("svg"));
    },

    judged() { if (row) drawEvents(video, row.querySelector("svg")); },
  };
}

// Draw the threshold, and the events between two times, into a curve of a video.
function drawEvents(video, svg, from = 0, to = video.data.duration) {
  const scale = 1000 / video.data.duration, line = svg.querySelector(".limit");
  const marks = video.events.filter((event) => event.end > from && event.start < to)
    .map((event) => drawn("rect", {
      class: `event ${video.reviewOf(event)?.verdict ?? ""}`, height: 100,
      x: event.start * scale, width: Math.max(0.5, (event.end - event.start) * scale),
    }));
  svg.querySelectorAll(".event").forEach((mark) => mark.remove());
  line.parentNode.prepend(...marks);
  for (const end of ["y1", "y2"]) line.setAttribute(end, 100 - 100 * video.threshold);
}

// Return the path of the curve between two times, 1000 units for the whole video and 100 high.
function curvePath(video, from, to) {
  const scale = 1000 / video.data.duration, { scores, edges } = video;
  let frame = video.frameAt(from), path = `M${from * scale} ${100 - 100 * scores[frame]}`;
  for (frame += 1; frame < scores.length && edges[frame] < to * 1e6; frame++) {
    if (scores[frame] !== scores[frame - 1]) path += `H${edges[frame] / 1e6 * scale}V${100 - 100 * scores[frame]}`;
  }
  return path + `H${to * scale}`;
}

function drawn(name, attributes) { // an SVG element
  const element = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  return element;
}

// Call a function as soon as an element comes near the window.
function whenNear(element, act) {
  const observer = new IntersectionObserver(([entry]) => {
    if (!entry.isIntersecting) return;
    observer.disconnect();
    act();
  }, { rootMargin: "200px" });
  observer.observe(element);
}

const MOST_ROWS = 500; // in a table of events; more make a page slow

const SVG = document.querySelector("svg").namespaceURI;

function counted(n) { return `${n || "no"} event${n === 1 ? "" : "s"}`; }

function words(time, step) { // min:s, with hours and tenths where they matter
  const tenths = Math.round(time * 10);
  const seconds = String(Math.floor(tenths / 10) % 60).padStart(2, "0") + (step < 1 ? "." + (tenths % 10) : "");
  const minutes = Math.floor(tenths / 600), hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${seconds}` : `${minutes}:${seconds}`;
}

// --- keys

window.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select")) return; // they have keys of their own
  const video = page.current, jump = event.shiftKey ? 5 : 1, frame = 1 / video.data.fps;
  const judge = (verdict) => {
    const event = video.events[video.eventAt(video.time)];
    if (event) video.judge(event, verdict);
  };
  const acts = {
    ArrowLeft: () => video.seek(video.time - jump), ArrowRight: () => video.seek(video.time + jump),
    ",": () => video.seek(video.time - frame), ".": () => video.seek(video.time + frame),
    n: () => video.step(1), p: () => video.step(-1),
    c: () => judge("confirmed"), d: () => judge("dismissed"),
    "+": () => video.curve.zoom(0.5), "=": () => video.curve.zoom(0.5), "-": () => video.curve.zoom(2),
    0: () => video.curve.zoom(Infinity),
    h: () => {
      page.tinted = !page.tinted;
      for (const each of page.videos) each.show(each.time);
    },
  };
  if (event.target.matches(".plot")) {
    acts.Home = () => video.seek(0);
    acts.End = () => video.seek(video.data.duration);
  }
  if (video.player.element && !event.target.closest("button, a, summary, video")) acts[" "] = () => video.player.toggle();
  if (event.target.matches("video")) { delete acts.ArrowLeft; delete acts.ArrowRight; } // its own keys
  const act = acts[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

// --- start

page.videos = [...document.querySelectorAll(".video")].map((section) => new Video(section));
page.current = page.videos[0];
page.controls = controlsPanel();
page.redo();
for (const video of page.videos) {
  video.curve.resize();
  video.show(video.data.peak);
  video.player.place();
}

// A player gets its copy when it comes near the window, so that a page of many opens at once.
for (const video of page.videos) whenNear(video.section, video.player.load);

window.addEventListener("resize", () => page.videos.forEach((video) => {
  video.curve.resize();
  video.show(video.time);
}));
