// What the theme leaves out for people who use a screen reader or the keyboard alone: bars of code
// blocks have names, and wide tables can be scrolled by keys.
let bars = 0;
new MutationObserver(() => {
  for (const bar of document.querySelectorAll(".md-code__nav:not([aria-label])"))
    bar.setAttribute("aria-label", `Code block ${++bars}`);
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])"))
    table.tabIndex = 0;
}).observe(document.documentElement, { childList: true, subtree: true });
