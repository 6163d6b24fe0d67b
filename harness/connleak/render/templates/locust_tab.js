// Draws the connections into Locust's tab of that name, or into a page of their own: the request rate above,
// the server's sessions by state below, one time axis. All text is set by textContent.
(() => {
  "use strict";
  const KEY = "connections", NS = "http://www.w3.org/2000/svg";
  let data = {rows: [], states: [], limit: 0, holders: []};  // states: [name, colour] from bottom to top

  function add(parent, name, attributes, text) {
    const made = document.createElementNS(NS, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (text !== undefined) made.textContent = text;
    parent.appendChild(made);
    return made;
  }

  function axis(svg, left, right, y, top, unit) {
    for (let step = 0; step <= 4; step++) {
      const value = top * step / 4;
      add(svg, "line", {x1: left, x2: right, y1: y(value), y2: y(value), stroke: "currentColor", "stroke-opacity": 0.15});
      if (step % 2 === 0) add(svg, "text", {x: left - 6, y: y(value) + 4, "text-anchor": "end", fill: "currentColor"}, String(Math.round(value)));
    }
    add(svg, "text", {x: left, y: y(top) - 8, fill: "currentColor", "font-weight": "bold"}, unit);
  }

  function draw(host) {
    host.replaceChildren();
    const rows = data.rows;
    if (!rows.length) { host.textContent = "No samples yet."; return; }
    const width = Math.max(480, host.clientWidth || 1100), left = 56, right = width - 16;
    const svg = add(host, "svg", {width, height: 430, style: "font: 12px sans-serif; display: block", role: "img", "aria-label": "requests per second, and sessions by state, over time"});
    const begin = rows[0].t, end = Math.max(rows[rows.length - 1].t, begin + 1);
    const x = t => left + (t - begin) / (end - begin) * (right - left);
    const total = row => data.states.reduce((sum, [state]) => sum + (row[state] || 0), 0);

    const fastest = Math.max(1, ...rows.map(row => row.rate)) * 1.1;
    const up = value => 130 - value / fastest * 96;
    axis(svg, left, right, up, fastest, "requests per second");
    add(svg, "path", {d: "M" + rows.map(row => x(row.t).toFixed(1) + "," + up(row.rate).toFixed(1)).join("L"), fill: "none", stroke: "currentColor", "stroke-width": 1.5});

    const most = Math.max(5, ...rows.map(total)), near = data.limit && data.limit <= 2 * most;
    const top = (near ? Math.max(most, data.limit) : most) * 1.15;
    const y = value => 380 - value / top * 200;
    axis(svg, left, right, y, top, "sessions on the server");
    const floor = rows.map(() => 0);
    for (const [state, colour] of data.states) {
      if (!rows.some(row => row[state])) continue;
      const lower = rows.map((row, i) => x(row.t).toFixed(1) + "," + y(floor[i]).toFixed(1));
      rows.forEach((row, i) => { floor[i] += row[state] || 0; });
      const upper = rows.map((row, i) => x(row.t).toFixed(1) + "," + y(floor[i]).toFixed(1));
      add(svg, "path", {d: "M" + upper.join("L") + "L" + lower.reverse().join("L") + "Z", fill: colour, "data-state": state});
    }
    if (near) {
      add(svg, "line", {x1: left, x2: right, y1: y(data.limit), y2: y(data.limit), stroke: "#d1495b", "stroke-dasharray": "6 4"});
      add(svg, "text", {x: right, y: y(data.limit) - 5, "text-anchor": "end", fill: "#d1495b"}, "server limit: " + data.limit);
    }
    for (let step = 0; step <= 5; step++) {
      const t = begin + (end - begin) * step / 5;
      add(svg, "text", {x: x(t), y: 398, "text-anchor": step === 5 ? "end" : "middle", fill: "currentColor"}, Math.round(t) + " s");
    }
    let at = left;
    const last = rows[rows.length - 1];
    for (const [state, colour] of data.states.filter(([state]) => rows.some(row => row[state]))) {
      add(svg, "circle", {cx: at + 6, cy: 418, r: 5, fill: colour});
      const label = state + " " + (last[state] || 0);
      add(svg, "text", {x: at + 16, y: 422, fill: "currentColor"}, label);
      at += 40 + 7 * label.length;
    }
  }

  function place() {
    const alone = document.getElementById("connleak-alone");
    if (alone) return alone;
    const on = new URLSearchParams(location.search).get("tab") === KEY;
    let host = document.getElementById("connleak-chart");
    if (!on) { if (host) host.remove(); return null; }
    if (!host) {
      const bar = document.querySelector('[role="tablist"]');
      if (!bar) return null;
      const box = bar.closest(".MuiBox-root") || bar.parentElement;
      host = document.createElement("div");
      host.id = "connleak-chart";
      host.style.margin = "16px 0";
      box.insertAdjacentElement("afterend", host);
    }
    return host;
  }

  function show() { const host = place(); if (host) draw(host); }

  async function update() {
    const base = document.getElementById("connleak-alone") ? "./data" : "./connleak/data";
    try { data = await (await fetch(base)).json(); } catch (error) { /* Locust has ended: keep the last chart */ }
    show();
  }

  setInterval(update, 1000);
  update();
  new MutationObserver(() => {
    const on = new URLSearchParams(location.search).get("tab") === KEY;
    if (on !== Boolean(document.getElementById("connleak-chart")) && !document.getElementById("connleak-alone")) show();
  }).observe(document.documentElement, {childList: true, subtree: true});
})();
