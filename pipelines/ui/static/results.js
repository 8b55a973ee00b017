// Verdicts on events.
"use strict";

vad.acts.push(() => {
  for (const row of document.querySelectorAll(".events > li")) {
    for (const button of row.querySelectorAll("[data-verdict]")) {
      button.addEventListener("click", () => vad.attempt(async () => {
        const verdict = row.dataset.verdict === button.dataset.verdict ? "" : button.dataset.verdict;
        await vad.post("/api/reviews", {
          video: row.dataset.video, start_frame: Number(row.dataset.start),
          end_frame: Number(row.dataset.end), verdict,
        });
        row.dataset.verdict = verdict;
        for (const each of row.querySelectorAll("button")) {
          each.setAttribute("aria-pressed", each.dataset.verdict === verdict);
        }
        vad.say(verdict ? `${row.dataset.video}: ${verdict}` : `${row.dataset.video}: no verdict`);
      }));
    }
  }
});
