// Keeps the page of a run in progress up to date. The pages that smtpress sends are merged into the shown page, so that
// zoom, scroll position, selections and unfolded details stay as they are. At the end the page is the report.
"use strict";
(() => {
  const bar = document.getElementById("live");
  const ask = document.getElementById("ask"), sure = document.getElementById("sure");
  const status = bar.querySelector("[role=status]");
  const say = (is, words) => {
    bar.dataset.is = is;
    if (status.textContent !== words) status.textContent = words;
  };

  // --- Merging ----------------------------------------------------------------------------------------------------------
  const same = (a, b) => a.nodeName === b.nodeName
    && (a.nodeType !== 1 || (a.id === b.id && a.dataset.chart === b.dataset.chart));
  const become = (old, fresh) => {
    if (old.nodeType !== 1) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    // Charts are drawn by `render`, and not merged.
    if (old.matches("figure.chart")) return;
    const kept = (name) => name === "open" && old.nodeName === "DETAILS";
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !kept(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && !kept(name)) old.setAttribute(name, value);
    }
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      // A text node is compared only with the node at its place. A search further on would find the text after a section,
      // and the section would be removed.
      let found = at;
      if (child.nodeType === 1) while (found && !same(found, child)) found = found.nextSibling;
      else if (found && !same(found, child)) found = null;
      if (!found) {
        old.insertBefore(child, at);
        continue;
      }
      for (let gone = at; gone !== found; gone = at) {
        at = gone.nextSibling;
        gone.remove();
      }
      become(found, child);
      at = found.nextSibling;
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  };

  // --- Charts: only visible ones are drawn again ------------------------------------------------------------
  const { drawn, read, render, end } = globalThis.charts;
  const stale = new Set(), seen = new Set(), ends = new WeakMap();
  for (const figure of drawn.keys()) ends.set(figure, end());
  const draw = (figure) => {
    const chart = drawn.get(figure)?.chart;
    const { min, max } = chart?.scales.x ?? {};
    // A chart over time is zoomed if it shows neither the whole run as of its last drawing nor the whole run as of now.
    const all = min === 0 && (max === ends.get(figure) || max === end());
    const zoomed = chart?.cursor.sync?.key === "time" && min != null && !all;
    const { left, top } = chart?.cursor ?? {};
    render(figure);
    ends.set(figure, end());
    stale.delete(figure);
    const next = drawn.get(figure).chart;
    if (!next) return;
    if (zoomed) next.setScale("x", { min, max });
    if (left >= 0) next.setCursor({ left, top }, false);
  };
  const sight = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) seen.add(target); else seen.delete(target);
      if (isIntersecting && stale.has(target)) draw(target);
    }
  }, { rootMargin: "200px" });
  const observed = new WeakSet();
  let over = false;
  const redraw = () => {
    for (const figure of drawn.keys()) {
      if (figure.isConnected) continue;
      drawn.get(figure).chart?.destroy();
      drawn.delete(figure);
      sight.unobserve(figure);
    }
    for (const figure of document.querySelectorAll("figure[data-chart]")) {
      stale.add(figure);
      if (!observed.has(figure)) sight.observe(figure);
      observed.add(figure);
      // At the end of the run all charts are drawn, not only visible ones.
      if (over || seen.has(figure)) draw(figure);
    }
  };
  // --- Receiving --------------------------------------------------------------------------------------------------------
  let waiting = null, held = false, place = "the run directory";
  const show = () => {
    if (!waiting || document.hidden || held) return;
    const { page, files } = waiting;
    waiting = null;
    place = files;
    const fresh = new DOMParser().parseFromString(page, "text/html");
    document.title = fresh.title;
    for (const name of ["header", "main"]) become(document.querySelector(name), fresh.querySelector(name));
    document.getElementById("data").textContent = fresh.getElementById("data").textContent;
    const blocks = document.querySelectorAll("script.file");
    const first = document.getElementById("data");
    blocks.forEach((block) => block.remove());
    first.after(...fresh.querySelectorAll("script.file"));
    read();
    redraw();
    if (over) say("over", "The run is over; this is its report. Its files are in " + files);
    else if (document.querySelector("header .word").textContent === "STOPPING") {
      say("stopping", "Stopping: what is in progress may end");
      ask.hidden = sure.hidden = true;
    } else if (bar.dataset.is !== "stopping") say("live", "Live");
  };
  const take = (event) => {
    waiting = JSON.parse(event.data);
    show();
  };
  const source = new EventSource("events" + location.search);
  source.addEventListener("state", take);
  source.addEventListener("over", (event) => {
    over = true;
    source.close();
    ask.hidden = sure.hidden = true;
    take(event);
  });
  let lost = 0;
  source.addEventListener("open", () => { lost = 0; });
  source.addEventListener("error", () => {
    if (over) return;
    lost += 1;
    if (lost < 5 && source.readyState !== EventSource.CLOSED) return say("lost", "Not connected; trying again");
    source.close();
    ask.hidden = sure.hidden = true;
    say("lost", "smtpress does not answer any more; what is shown is the last that was heard. Look in " + place);
  });
  document.addEventListener("visibilitychange", show);
  // A chart must not be drawn again while the user drags the pointer in it.
  addEventListener("pointerdown", (event) => { held = Boolean(event.target.closest(".u-over")); });
  for (const end of ["pointerup", "pointercancel"]) {
    addEventListener(end, () => setTimeout(() => {
      held = false;
      show();
    }));
  }

  // --- Stopping ---------------------------------------------------------------------------------------------------------
  const asked = (yes) => {
    ask.hidden = yes;
    sure.hidden = !yes;
  };
  bar.querySelector("[data-ask=stop]").addEventListener("click", () => asked(true));
  bar.querySelector("[data-ask=no]").addEventListener("click", () => asked(false));
  bar.querySelector("[data-ask=yes]").addEventListener("click", async () => {
    ask.hidden = sure.hidden = true;
    say("stopping", "Stopping: what is in progress may end");
    try {
      const answer = await fetch("stop" + location.search, { method: "POST" });
      if (!answer.ok && !over) throw new Error(await answer.text());
    } catch (error) {
      if (over) return;
      say("lost", "Not stopped: " + error.message);
      asked(false);
    }
  });
})();
