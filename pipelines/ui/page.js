"use strict";

const AGAIN_MS = 1000; // between two requests for the state of unfinished jobs
const element = (id) => document.getElementById(id);
const uploads = new Map(); // name -> share uploaded so far, of unfinished uploads
let limitBytes = Infinity;
let shown = null; // the job whose report is open
let awaited = []; // jobs of the last drop or choice: their first report opens automatically

function tell(problem) {
  element("problem").textContent = problem;
}

async function look() {
  try {
    const answer = await fetch("state");
    const state = await answer.json();
    if (!answer.ok) throw new Error(state.error);
    limitBytes = state.max_bytes;
    element("detector").textContent = state.detector;
    fillChoice(state.videos);
    fillJobs(state.jobs);
  } catch (error) {
    tell(`The page is not served any more: ${error.message}`);
  }
  setTimeout(look, AGAIN_MS);
}

function fillChoice(videos) {
  const select = element("video");
  if (select.options.length === videos.length) return;
  select.replaceChildren(...videos.map((name, i) => new Option(name, i)));
  element("choose").hidden = videos.length === 0;
}

function fillJobs(jobs) {
  const rows = [...uploads].map(([name, share]) => row({ name, state: "sent", share }));
  const focused = document.activeElement?.dataset.job; // to restore the keyboard focus
  element("jobs").replaceChildren(...rows, ...jobs.map(row));
  if (focused) document.querySelector(`[data-job="${focused}"]`)?.focus();
  const ready = jobs.findLast((job) => awaited.includes(job.job) && job.state === "done");
  if (ready) open(ready);
}

function row(job) {
  const button = document.createElement("button");
  const small = document.createElement("small");
  button.append(job.name, small);
  button.dataset.job = job.job ?? "";
  button.disabled = job.state !== "done";
  button.setAttribute("aria-current", String(job.job === shown));
  button.onclick = () => open(job);
  const words = {
    sent: () => `arriving, ${Math.round(100 * job.share)} %`,
    waiting: () => "waits for its turn",
    scoring: () => `being watched, ${Math.round(job.seconds)} s`,
    writing: () => `its report is being written, ${Math.round(job.seconds)} s`,
    done: () => `${job.says.replace(/^.*: (?=\S+ events?,)/, "")}; took ${job.seconds} s`,
    failed: () => job.says,
  };
  small.textContent = words[job.state]();
  if (["sent", "scoring", "writing"].includes(job.state)) {
    const bar = document.createElement("progress");
    if (job.state === "sent") bar.value = job.share;
    button.append(bar);
  }
  const item = document.createElement("li");
  item.className = job.state;
  item.append(button);
  return item;
}

function open(job) {
  awaited = [];
  if (shown === job.job) return;
  shown = job.job;
  const address = (kind) => `jobs/${job.job}/${kind}`;
  element("name").textContent = job.name;
  element("report").src = element("open").href = address("html");
  for (const kind of ["json", "csv"]) {
    element(kind).href = address(kind);
    element(kind).download = `${job.name}.${kind}`;
  }
  element("result").hidden = false;
  element("empty").hidden = true;
}

function send(address, body, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not tell how much has been sent
    request.open("POST", address);
    request.setRequestHeader("X-Vad", "1");
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress?.(event.loaded / event.total);
    request.onload = () =>
      request.status < 300 ? resolve(request.response) : reject(new Error(request.response?.error));
    request.onerror = () => reject(new Error("the connection broke"));
    request.send(body);
  });
}

async function upload(files) {
  tell("");
  awaited = [];
  for (const file of files) {
    if (file.size > limitBytes) {
      tell(`${file.name} is too large for this page; score it with: vad score`);
      continue;
    }
    uploads.set(file.name, 0);
    try {
      const address = `uploads?name=${encodeURIComponent(file.name)}`;
      const job = await send(address, file, (share) => uploads.set(file.name, share));
      awaited.push(job.job);
    } catch (error) {
      tell(`${file.name}: ${error.message}`);
    }
    uploads.delete(file.name);
  }
}

element("pick").onchange = (event) => {
  upload([...event.target.files]);
  event.target.value = ""; // so that the same file can be chosen again
};
element("choose").onsubmit = async (event) => {
  event.preventDefault();
  tell("");
  try {
    awaited = [(await send(`videos/${element("video").value}`, null)).job];
  } catch (error) {
    tell(error.message);
  }
};
const drop = element("drop");
for (const kind of ["dragover", "drop", "dragleave"]) {
  window.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") upload([...event.dataTransfer.files]);
  });
}
look();
