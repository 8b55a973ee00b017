// A zone is drawn on a picture, or written, and becomes lines for cameras.toml.
"use strict";

vad.acts.push(() => {
  const form = find("zone");
  if (!form) return;
  const still = find("zone-still"), points = find("zone-points"), toml = find("zone-toml");

  const corners = () => points.value.split("\n")
    .map((line) => line.trim().split(/[\s,]+/).map(Number))
    .filter((pair) => pair.length === 2 && pair.every((value) => value >= 0 && value <= 1));
  const redraw = () => {
    const found = corners(), black = find("zone-black").checked;
    find("zone-shape").setAttribute("points", found.map((pair) => pair.join(",")).join(" "));
    const name = find("zone-camera").value.trim();
    const lines = [`[[cameras.${/^[\w-]+$/.test(name) ? name : JSON.stringify(name)}.zones]]`,
      `polygon = [${found.map((pair) => `[${pair.join(", ")}]`).join(", ")}]`,
      `kind = "${find("zone-kind").value}"`];
    if (black) lines.push("black = true");
    toml.value = found.length < 3 ? "" : lines.join("\n") + "\n";
  };
  const show = () => { still.src = find("zone-video").value; };

  still.addEventListener("click", (event) => {
    const share = (offset, size) => Math.min(1, Math.max(0, offset / size)).toFixed(3);
    const pair = `${share(event.offsetX, still.clientWidth)} ${share(event.offsetY, still.clientHeight)}`;
    points.value = `${points.value.trim()}\n${pair}`.trim();
    redraw();
  });
  find("zone-clear").addEventListener("click", () => {
    points.value = "";
    redraw();
  });
  find("zone-copy").addEventListener("click", () => vad.attempt(async () => {
    toml.select();
    await navigator.clipboard.writeText(toml.value);
    vad.say("copied");
  }));
  form.addEventListener("input", redraw);
  form.addEventListener("submit", (event) => event.preventDefault());
  find("zone-video").addEventListener("change", show);
  show();
  redraw();
});
