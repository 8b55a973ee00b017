"use strict";

// Each video of the page: its player, its curve and its events keep the same time.
class Video {
  constructor(section) {
    const find = (selector) => section.querySelector(selector);
    this.section = section;
    this.data = JSON.parse(find(".data").textContent);
    this.player = find("video");
    this.plot = find(".plot");
    this.from = 0; // the part of the video that the curve shows, in seconds
    this.to = this.data.duration;
    this.time = 0;
    this.parts = Object.fromEntries(
      ["score", "clock", "fill", "mark", "head", "hint", "axis", "saying", "curve"]
        .map((name) => [name, find("." + name)]));
    this.parts.limit = find(".scale.limit");
    this.rows = [...section.querySelectorAll("tr[data-event]")];
    this.parts.mark.style.left = 100 * Math.min(1, this.data.threshold) + "%";
    this.parts.limit.style.top = 100 * (1 - this.data.threshold) + "%";
    this.listen();
    this.seek(this.data.peak, false);
    this.draw();
  }

  listen() {
    const at = (event) => {
      const box = this.plot.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      return this.from + share * (this.to - this.from);
    };
    this.plot.addEventListener("pointerdown", (event) => {
      this.plot.setPointerCapture(event.pointerId);
      this.seek(at(event));
    });
    this.plot.addEventListener("pointermove", (event) => {
      if (this.plot.hasPointerCapture(event.pointerId)) this.seek(at(event));
      this.point(at(event));
    });
    this.plot.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls; with Ctrl, or a pinch, this
      event.preventDefault();
      this.zoom(Math.exp(event.deltaY / 200), at(event));
    }, { passive: false });
    const tools = { ".in": () => this.zoom(0.5), ".out": () => this.zoom(2), ".all": () => this.zoom(Infinity) };
    for (const [name, act] of Object.entries(tools)) this.section.querySelector(name).addEventListener("click", act);
    this.rows.forEach((row, index) => row.addEventListener("click", () => this.play(index)));
    this.section.addEventListener("focusin", () => { Video.current = this; });
    this.section.addEventListener("pointerdown", () => { Video.current = this; });
    if (!this.player) return;
    this.player.addEventListener("timeupdate", () => this.show(this.player.currentTime));
    this.player.addEventListener("seeking", () => this.show(this.player.currentTime));
    this.player.addEventListener("play", () => this.follow());
  }

  // The copy in the page becomes a file for the player when it is first needed.
  load() {
    const copy = this.section.querySelector(".preview");
    if (!copy) return;
    const bytes = Uint8Array.from(atob(copy.textContent), (c) => c.charCodeAt(0));
    copy.remove();
    this.player.src = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" }));
    this.player.currentTime = this.time;
  }

  follow() { // while it plays, more often than "timeupdate" says
    this.show(this.player.currentTime);
    if (!this.player.paused && !this.player.ended) requestAnimationFrame(() => this.follow());
  }

  seek(time, wanted = true) {
    this.show(Math.min(this.data.duration, Math.max(0, time)));
    if (!this.player) return;
    if (wanted) this.load();
    // A hair into the frame, so that rounding shows it and not the one before.
    if (this.player.src) this.player.currentTime = Math.min(this.time + 0.001, this.data.duration);
  }

  play(index) {
    this.seek(this.data.events[index].start);
    if (this.player) this.player.play().catch(() => {});
  }

  step(direction) { // to the next or the previous event
    const starts = this.data.events.map((event) => event.start);
    const index = direction > 0 ? starts.findIndex((start) => start > this.time + 0.01)
      : starts.findLastIndex((start) => start < this.time - 0.5);
    if (index >= 0) this.seek(starts[index]);
  }

  scoreAt(time) {
    let low = 0, high = this.data.starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.data.starts[middle] <= time + 1e-3) low = middle; else high = middle;
    }
    return this.data.scores[low];
  }

  show(time) {
    this.time = time;
    const { score, clock, fill, saying } = this.parts;
    const value = this.scoreAt(time);
    score.textContent = value.toFixed(2);
    score.classList.toggle("high", value >= this.data.threshold);
    clock.textContent = words(time, 0.1);
    fill.style.width = 100 * value + "%";
    this.plot.setAttribute("aria-valuenow", time.toFixed(1));
    this.plot.setAttribute("aria-valuetext", `${words(time, 0.1)}, score ${value.toFixed(2)}`);
    const now = this.data.events.findIndex((event) => event.start <= time + 1e-3 && time < event.end);
    this.rows.forEach((row, index) => row.classList.toggle("now", index === now));
    saying.textContent = now < 0 ? "" : `event ${now + 1}` + (this.data.events[now].caption ? `: ${this.data.events[now].caption}` : "");
    if (time < this.from || time > this.to) this.zoom(1, time);
    this.place(this.parts.head, time);
  }

  place(element, time) {
    element.style.left = 100 * (time - this.from) / (this.to - this.from) + "%";
  }

  point(time) { // where the mouse is
    const { hint } = this.parts;
    hint.textContent = `${words(time, 0.1)}   ${this.scoreAt(time).toFixed(2)}`;
    const share = (time - this.from) / (this.to - this.from);
    hint.style.left = share < 0.5 ? `calc(${100 * share}% + 10px)` : "";
    hint.style.right = share < 0.5 ? "" : `calc(${100 - 100 * share}% + 10px)`;
  }

  zoom(factor, around = this.time) {
    const whole = this.data.duration;
    const length = Math.min(whole, Math.max(Math.min(1, whole), (this.to - this.from) * factor));
    const inside = around >= this.from && around <= this.to;
    const share = inside ? (around - this.from) / (this.to - this.from) : 0.5;
    this.from = Math.min(whole - length, Math.max(0, around - share * length));
    this.to = this.from + length;
    this.draw();
  }

  draw() { // the part of the curve, and round times below it
    const scale = 1000 / this.data.duration, length = this.to - this.from;
    this.parts.curve.setAttribute("viewBox", `${this.from * scale} 0 ${Math.max(1e-3, length * scale)} 100`);
    const room = Math.max(2, Math.floor(this.parts.axis.clientWidth / 80));
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400]
      .find((seconds) => length / seconds <= room) || 28800;
    const marks = [];
    for (let index = Math.ceil(this.from / step); index * step <= this.to; index++) {
      const mark = document.createElement("span");
      mark.textContent = words(index * step, step);
      this.place(mark, index * step);
      marks.push(mark);
    }
    this.parts.axis.replaceChildren(...marks);
    this.place(this.parts.head, this.time);
  }
}

function words(time, step) { // min:s, with hours and tenths where they matter
  const tenths = Math.round(time * 10);
  const seconds = String(Math.floor(tenths / 10) % 60).padStart(2, "0") + (step < 1 ? "." + (tenths % 10) : "");
  const minutes = Math.floor(tenths / 600), hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${seconds}` : `${minutes}:${seconds}`;
}

const videos = [...document.querySelectorAll(".video")].map((section) => new Video(section));
Video.current = videos[0];

// A player gets its copy when it comes near the window, so that a page of many opens at once.
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    near.unobserve(entry.target);
    videos.find((video) => video.section === entry.target).load();
  }
}, { rootMargin: "200px" });
for (const video of videos) if (video.player) near.observe(video.section);

window.addEventListener("resize", () => videos.forEach((video) => video.draw()));
window.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const video = Video.current, player = video.player, jump = event.shiftKey ? 5 : 1;
  const onButton = event.target.closest("button, a, summary, video");
  const acts = {
    ArrowLeft: () => video.seek(video.time - jump), ArrowRight: () => video.seek(video.time + jump),
    ",": () => video.seek(video.time - 1 / video.data.fps), ".": () => video.seek(video.time + 1 / video.data.fps),
    n: () => video.step(1), p: () => video.step(-1),
    "+": () => video.zoom(0.5), "=": () => video.zoom(0.5), "-": () => video.zoom(2), 0: () => video.zoom(Infinity),
  };
  if (event.target === video.plot) {
    acts.Home = () => video.seek(0);
    acts.End = () => video.seek(video.data.duration);
  }
  if (player && !onButton) acts[" "] = () => { video.load(); if (player.paused) player.play(); else player.pause(); };
  if (event.target === player) { delete acts.ArrowLeft; delete acts.ArrowRight; } // its own keys
  const act = acts[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
