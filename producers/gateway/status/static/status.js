// The charts, and what the page says of its connection. htmx does the rest.
"use strict";
(() => {
  const live = document.getElementById("live");
  const main = document.getElementById("main");
  const streams = main && main.hasAttribute("hx-sse:connect");

  function say(state, words) {
    if (live.dataset.state === state) return; // a screen reader repeats what is written again
    live.dataset.state = state;
    live.textContent = words;
  }

  if (!streams) say("ended", "Final");
  // A gateway that hangs closes no connection, but then no sign of life comes every 15 s.
  const SILENT_MS = 40_000;
  let heard = Date.now();
  function hear() {
    heard = Date.now();
    say("live", "Live");
  }
  document.addEventListener("htmx:sse:after:connection", hear);
  document.addEventListener("htmx:sse:after:message", hear);
  setInterval(() => {
    if (live.dataset.state === "live" && Date.now() - heard > SILENT_MS) say("lost", "Connection lost");
  }, 1000);
  document.addEventListener("htmx:sse:error", (event) => {
    if (event.detail.status === 401) location.assign("/status/sign-in");
    say("lost", "Connection lost");
  });
  document.addEventListener("htmx:sse:close", (event) => {
    if (event.detail.reason === "message") say("ended", "Final");
    else if (event.detail.reason !== "removed") say("lost", "Connection lost");
  });
  document.addEventListener("signed-out", () => location.assign("/status/sign-in"));

  // A message about what was done goes away after a while.
  const said = document.getElementById("said");
  let gone;
  new MutationObserver(() => {
    clearTimeout(gone);
    if (said.firstElementChild) gone = setTimeout(() => said.replaceChildren(), 8000);
  }).observe(said, { childList: true, subtree: true });

  if (!document.getElementById("charts")) return;

  const HEIGHT = 160;
  const charts = {};
  let points = null;

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const number = (value) => (value >= 100 ? Math.round(value).toLocaleString("en") : String(Math.round(value * 10) / 10));
  const dollars = (value) => `$${value.toFixed(value > 0 && value < 10 ? 4 : 2)}`;
  const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 16);
  const sum = (a, b) => (a === null || b === null ? null : a + b);

  const SHOWN = {
    answered: {
      rows: (p) => [p.local.map((n, i) => sum(n, p.bedrock[i])), p.local, p.failed],
      lines: () => [
        { stroke: color("up"), width: 1.5 },
        { stroke: color("local"), width: 1.5, fill: color("local-fill") },
        { stroke: color("bad"), width: 1.5, dash: [4, 3] },
      ],
      bands: () => [{ series: [1, 2], fill: color("up-fill") }],
      axis: number,
      read: (p, i) => [
        ["local", `local ${number(p.local[i])}`], ["up", `Bedrock ${number(p.bedrock[i])}`], ["bad", `failed ${number(p.failed[i])}`],
      ],
    },
    waiting: {
      rows: (p) => [p.waiting],
      lines: () => [{ stroke: color("soft"), width: 1.5, fill: color("grid") }],
      axis: number,
      read: (p, i) => [["", `${number(p.waiting[i])} waiting`]],
    },
    spent: {
      rows: (p) => [p.spent],
      lines: () => [{ stroke: color("up"), width: 1.5, fill: color("up-fill") }],
      axis: (value) => (value >= 0.1 ? `$${value.toFixed(2)}` : dollars(value)),
      read: (p, i) => [["up", `${dollars(p.spent[i])} spent`]],
    },
  };

  // Write below a chart what it shows at a point; the last one that is known, if none is pointed at.
  function read(name, at) {
    const shown = SHOWN[name], place = document.getElementById(`reading-${name}`);
    const rows = shown.rows(points);
    const known = (i) => rows.every((row) => row[i] !== null && row[i] !== undefined);
    let index = at;
    if (index === null || index === undefined) {
      index = points.time.length - 1;
      while (index >= 0 && !known(index)) index -= 1;
    }
    if (index < 0 || !known(index)) { place.textContent = "\u00a0"; return; }
    const parts = shown.read(points, index).map(([tone, words]) => {
      const part = document.createElement("i");
      part.className = tone;
      part.textContent = words;
      return part;
    });
    place.replaceChildren(`${clock(points.time[index])} UTC`, ...parts);
    if (at === null || at === undefined) document.getElementById(`chart-${name}`).setAttribute("aria-label", place.textContent);
  }

  function draw(name) {
    const shown = SHOWN[name], place = document.getElementById(`chart-${name}`);
    if (charts[name]) charts[name].destroy();
    const axis = { stroke: color("soft"), grid: { stroke: color("grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    charts[name] = new uPlot({
      width: place.clientWidth, height: HEIGHT, padding: [10, 18, 0, 0],
      legend: { show: false }, cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: { y: { range: (_, low, high) => [0, Math.max(high || 0, name === "spent" ? 0.001 : 1) * 1.08] } },
      series: [{}, ...shown.lines().map((line) => ({ ...line, points: { show: false }, spanGaps: false }))],
      bands: shown.bands ? shown.bands() : [],
      axes: [
        { ...axis, values: (_, ticks) => ticks.map(clock), space: 55, size: 24 },
        { ...axis, values: (_, ticks) => ticks.map(shown.axis), size: name === "spent" ? 62 : 44, space: 32 },
      ],
      hooks: { setCursor: [(plot) => read(name, plot.cursor.idx)] },
    }, [points.time, ...shown.rows(points)], place);
    read(name, null);
  }

  function show() {
    for (const name of Object.keys(SHOWN)) {
      const place = document.getElementById(`chart-${name}`);
      const empty = place.querySelector(".none");
      if (points.known) {
        if (empty) empty.remove();
        draw(name);
      } else if (!empty) {
        const words = document.createElement("p");
        words.className = "none";
        words.textContent = "No history yet: the sweeper keeps a sample each minute.";
        place.replaceChildren(words);
      }
    }
  }

  async function load() {
    const range = document.querySelector("input[name=range]:checked").value;
    try {
      const reply = await fetch(`/status/series?range=${range}`);
      if (!reply.ok) return; // the stream tells why
      points = await reply.json();
      show();
    } catch { /* the gateway is away; the stream says so */ }
  }

  for (const input of document.querySelectorAll("input[name=range]")) input.addEventListener("change", load);
  document.addEventListener("minute", load);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => points && show());
  let width = 0;
  new ResizeObserver(() => {
    const now = document.getElementById("chart-answered").clientWidth;
    if (points && points.known && now !== width) {
      for (const [name, chart] of Object.entries(charts)) {
        chart.setSize({ width: document.getElementById(`chart-${name}`).clientWidth, height: HEIGHT });
      }
    }
    width = now;
  }).observe(document.getElementById("charts"));
  load();
})();
