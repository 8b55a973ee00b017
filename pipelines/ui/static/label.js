// A wall of loops: several are selected and labelled at once, by mouse, finger or keyboard.
"use strict";

const undone = []; // what to write to undo each change, the last one at the end
const WORDS = { 1: "abnormal", 0: "normal", "": "no label" };

vad.acts.push(() => {
  const wall = find("wall");
  if (!wall) return;
  const options = [...wall.querySelectorAll("[role=option]")];
  let at = 0; // the option with the cursor

  const selected = () => options.filter((each) => each.ariaSelected === "true");
  const select = (option, is) => {
    option.setAttribute("aria-selected", is);
    const n = selected().length;
    find("chosen").textContent = n ? `${n} selected` : "";
  };
  const goTo = (index) => {
    at = Math.max(0, Math.min(options.length - 1, index));
    options.forEach((each, i) => { each.tabIndex = i === at ? 0 : -1; });
    options[at].focus();
  };
  const show = ({ video, label, category }) => {
    const option = options.find((each) => each.dataset.video === video);
    if (!option) return;
    Object.assign(option.dataset, { label, category });
    const tag = option.querySelector(".tag");
    tag.className = `tag label-${label || "none"}`;
    tag.textContent = WORDS[label] + (category ? ` · ${category}` : "");
  };

  const label = (value) => vad.attempt(async () => {
    const chosen = selected().length ? selected() : [options[at]];
    const category = value === "1" ? find("category").value.trim() : "";
    const changes = chosen.map((each) => ({ video: each.dataset.video, label: value, category }));
    const { before } = await vad.post("/api/labels", { changes });
    changes.forEach(show);
    undone.push(before);
    find("undo").disabled = false;
    vad.say(`${changes.length} video${changes.length === 1 ? "" : "s"}: ${WORDS[value]}`);
    const alone = selected().length === 0;
    chosen.forEach((each) => select(each, false));
    if (alone && wall.contains(document.activeElement)) goTo(at + 1);
  });
  const undo = () => vad.attempt(async () => {
    const changes = undone.at(-1);
    if (!changes) return;
    await vad.post("/api/labels", { changes });
    undone.pop();
    changes.forEach(show);
    find("undo").disabled = undone.length === 0;
    vad.say("undone");
  });

  options.forEach((option, index) => option.addEventListener("focus", () => { at = index; }));
  options.forEach((option, index) => option.addEventListener("click", (event) => {
    if (event.shiftKey) {
      const [first, last] = [Math.min(at, index), Math.max(at, index)];
      options.slice(first, last + 1).forEach((each) => select(each, true));
    } else select(option, option.ariaSelected !== "true");
    goTo(index);
  }));
  for (const button of document.querySelectorAll(".tools [data-label]")) {
    button.addEventListener("click", () => label(button.dataset.label));
  }
  find("undo").disabled = undone.length === 0;
  find("undo").addEventListener("click", undo);
  find("renew").addEventListener("click", () => vad.renew());
  find("category").addEventListener("keydown", (event) => {
    if (event.key === "Enter") label("1");
  });

  wall.addEventListener("keydown", (event) => {
    const perRow = Math.max(1, options.filter((each) => each.offsetTop === options[0].offsetTop).length);
    const moves = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: perRow, ArrowUp: -perRow,
      Home: -options.length, End: options.length,
    };
    if (event.ctrlKey || event.metaKey) {
      if (event.key === "z") undo();
      else if (event.key === "a") options.forEach((each) => select(each, true));
      else return;
    } else if (event.key in moves) {
      if (event.shiftKey) select(options[at], true);
      goTo(at + moves[event.key]);
      if (event.shiftKey) select(options[at], true);
    } else {
      const acts = {
        " ": () => select(options[at], options[at].ariaSelected !== "true"),
        Escape: () => options.forEach((each) => select(each, false)),
        n: () => label("0"), a: () => label("1"), x: () => label(""), Delete: () => label(""),
        u: undo, c: () => find("category").focus(),
      };
      if (event.altKey || !(event.key in acts)) return;
      acts[event.key]();
    }
    event.preventDefault();
  });

  // Loops play while they are seen; who wants little motion sees them play under the cursor.
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) target.play().catch(() => {});
      else target.pause();
    }
  });
  for (const option of options) {
    const loop = option.querySelector("video");
    if (!loop) continue;
    if (!calm) seen.observe(loop);
    else {
      option.addEventListener("focus", () => loop.play().catch(() => {}));
      option.addEventListener("blur", () => loop.pause());
    }
  }
});
