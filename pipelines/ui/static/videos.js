// Videos are added: dropped or chosen, a few at a time, with their progress.
"use strict";

const AT_ONCE = 3;
const waiting = []; // files that are not under way yet
let nUnderWay = 0;

function add(files) {
  for (const file of files) {
    const row = document.createElement("li"), name = document.createElement("span");
    const bar = document.createElement("progress");
    name.textContent = file.name;
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute("aria-label", `${file.name}, sent`);
    row.append(name, bar);
    find("uploads").append(row);
    waiting.push({ file, row, bar });
  }
  next();
}

function next() {
  while (nUnderWay < AT_ONCE && waiting.length) send(waiting.shift());
  if (!nUnderWay && !waiting.length) vad.look();
}

function send({ file, row, bar }) {
  const request = new XMLHttpRequest(); // fetch tells no progress
  const end = (error) => {
    nUnderWay -= 1;
    if (error) {
      row.className = "failed";
      row.textContent = `${file.name}: ${error}`;
    } else row.remove();
    next();
  };
  nUnderWay += 1;
  if (file.size > Number(find("drop").dataset.most)) {
    end("it is larger than this page takes; copy it into videos/");
    return;
  }
  request.open("POST", `/api/videos?name=${encodeURIComponent(file.name)}`);
  request.setRequestHeader("X-Vad", vad.secret);
  request.upload.onprogress = (event) => { bar.value = event.loaded / Math.max(1, event.total); };
  request.onerror = () => end("the connection broke");
  request.onload = () => {
    if (request.status === 201) return end();
    let words = request.statusText;
    try { words = JSON.parse(request.responseText).error; } catch { /* no words */ }
    end(words);
  };
  request.send(file);
}

vad.acts.push(() => {
  const drop = find("drop"), pick = find("pick");
  if (!drop) return;
  pick.addEventListener("change", () => {
    add(pick.files);
    pick.value = "";
  });
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    add(event.dataTransfer.files);
  });
});
