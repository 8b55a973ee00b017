// What all pages do: ask the server, show the work under way, renew the page when it is done.
"use strict";

const QUICK_MS = 700, SLOW_MS = 5000; // between two looks at the jobs: while one runs, and otherwise
const find = (id) => document.getElementById(id);

const vad = {
  acts: [], // functions that a page runs on its content, again whenever it is renewed

  // Post a value, and return the answer. Throws an Error with the words of the server.
  async post(path, value = {}) {
    const answer = await fetch(path, {
      method: "POST", body: JSON.stringify(value),
      headers: { "Content-Type": "application/json", "X-Vad": vad.secret },
    });
    const found = await answer.json().catch(() => ({ error: answer.statusText }));
    if (!answer.ok) throw new Error(found.error);
    return found;
  },

  say(words, failed = false) {
    find("said").textContent = words;
    find("said").classList.toggle("failed", failed);
  },

  // Do something, and say it if it fails.
  async attempt(act) {
    try {
      await act();
    } catch (error) {
      vad.say(error.message, true);
    }
  },

  // Replace the content of the page by what the server has now. The focus stays where it was.
  async renew() {
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const focused = document.activeElement?.id, uploads = find("uploads");
    find("main").replaceChildren(...page.getElementById("main").childNodes);
    if (uploads) find("uploads").replaceWith(uploads); // some may be under way
    vad.start();
    if (focused && find(focused)) find(focused).focus();
  },

  start() {
    for (const button of document.querySelectorAll("[data-job]")) {
      button.addEventListener("click", () => vad.attempt(async () => {
        const videos = button.dataset.videos ? JSON.parse(button.dataset.videos) : [];
        button.disabled = true;
        try {
          await vad.post(`/api/jobs/${button.dataset.job}`, { videos });
        } catch (error) {
          button.disabled = false;
          throw error;
        }
        vad.look();
      }));
    }
    vad.acts.forEach((act) => act());
    if (vad.jobs) vad.showLog();
  },

  // --- jobs

  jobs: null, // the last state of the jobs, the newest first

  async look() {
    clearTimeout(vad.timer);
    let running = false;
    try {
      const { jobs } = await (await fetch("/api/state")).json();
      const before = vad.jobs;
      vad.jobs = jobs;
      running = jobs.some((job) => ["waiting", "running"].includes(job.state));
      vad.showWork();
      vad.showLog();
      const ended = (job) => !["waiting", "running"].includes(job.state);
      const news = before && jobs.filter((job) => ended(job)
        && !before.some((old) => old.job === job.job && ended(old)));
      if (news?.length) {
        vad.say(`${news[0].title}: ${news[0].says}`, news[0].state === "failed");
        if (!find("wall")) await vad.renew(); // a selection is not thrown away
      }
    } catch {
      vad.say("The page has no connection to vad ui. Is it still running?", true);
    }
    vad.timer = setTimeout(vad.look, running ? QUICK_MS : SLOW_MS);
  },

  showWork() {
    const job = vad.jobs.findLast((each) => each.state === "running");
    const n_waiting = vad.jobs.filter((each) => each.state === "waiting").length;
    find("work").hidden = !job;
    if (!job) return;
    find("work-title").textContent = job.title;
    const words = [job.words || "begins", job.share ? `${Math.round(100 * job.share)} %` : "",
      n_waiting ? `${n_waiting} more waiting` : ""];
    find("work-words").textContent = words.filter(Boolean).join(", ");
    if (job.share) find("work-share").value = job.share;
    else find("work-share").removeAttribute("value");
    find("work-cancel").onclick = () => vad.attempt(async () => {
      await vad.post(`/api/jobs/${job.job}/cancel`);
      vad.look();
    });
  },

  showLog() {
    const log = find("log"), job = vad.jobs[0];
    if (log && job) log.textContent = [...job.log, job.says].filter(Boolean).join("\n") || "…";
  },
};

vad.secret = document.querySelector("meta[name=vad-secret]").content;
window.addEventListener("DOMContentLoaded", () => {
  document.querySelector(".top [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  vad.start();
  vad.look();
});
