// Curves: raw and smoothed training rows, held-out looks with their interval, and the base (step 0) as a line.
const colour = index => getComputedStyle(document.documentElement).getPropertyValue(`--c${index % 6}`).trim();
const ink = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const faint = (hex, share) => hex + Math.round(share * 255).toString(16).padStart(2, "0");
const SYNC = uPlot.sync("steps");
let drawn = [];

// The exponential mean over the points that have a value, without the pull of the first one.
function smooth(values, weight) {
  let sum = 0, scale = 1;
  return values.map(value => {
    if (!isNumber(value)) return null;
    sum = weight * sum + (1 - weight) * value;
    scale *= weight;
    return sum / (1 - scale);
  });
}

// What one half of a panel draws: {key, steps, values, line, ...} for each curve.
function curves(panel, runs, splits, look) {
  const found = [];
  runs.forEach((run, place) => panel.metrics.forEach((metric, position) => {
    const hue = runs.length > 1 ? place : position;
    const called = [runs.length > 1 ? run.name : "", panel.metrics.length > 1 || runs.length === 1 ? metric.split("/").slice(-2).join("/").replace(/\/mean$/, "") : ""].filter(Boolean).join(" ");
    for (const split of splits) {
      const part = run[split], values = part.values[metric];
      if (!values || !values.some(isNumber)) continue;
      const here = {steps: part.steps, hue, metric, dashed: runs.length > 1 && position > 0};
      if (split === "train") {
        const low = part.low[metric], high = part.high[metric];
        if (look.raw && low) found.push({...here, values: high, band: low, kind: "band"});
        if (look.raw) found.push({...here, values, kind: "raw"});
        found.push({...here, values: smooth(values, look.weight(part.steps.length)), kind: "smooth", called});
      } else {
        if (part.low[metric]) found.push({...here, values: part.high[metric], band: part.low[metric], kind: "band"});
        found.push({...here, values, kind: "held", called: splits.length > 1 && run.train.values[metric] ? "held-out" : called});
        const start = part.steps[0] === 0 ? values[0] : null;
        if (isNumber(start)) {
          const last = Math.max(part.steps.at(-1), run.train.steps.at(-1) ?? 0);
          found.push({...here, steps: [0, last], values: [start, start], kind: "base", called: runs.length > 1 || position ? "" : "at step 0"});
        }
      }
    }
  }));
  return found;
}

// The scale of a picture: all of it, but for the rarest of many raw points.
function extent(all) {
  const values = all.filter(curve => !["raw", "band"].includes(curve.kind) || curve.values.length < 60)
    .flatMap(curve => [...curve.values, ...(curve.band ?? [])]).filter(isNumber);
  for (const curve of all.filter(curve => ["raw", "band"].includes(curve.kind) && curve.values.length >= 60)) {
    const sorted = [...curve.values, ...(curve.band ?? [])].filter(isNumber).sort((a, b) => a - b);
    values.push(sorted[Math.floor(sorted.length * .01)], sorted[Math.ceil(sorted.length * .99) - 1]);
  }
  let low = Infinity, high = -Infinity;
  for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
  if (!isNumber(low)) return [0, 1];
  const flat = high - low <= 1e-6 * Math.abs(high), room = flat ? Math.abs(high) * .5 || 1 : (high - low) * .06;
  return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
}

function plot(host, keys, all, range, share) {
  const tables = [], series = [{}], bands = [], named = [];
  for (const curve of all) {
    const hue = colour(curve.hue), held = curve.kind === "held";
    const line = {spanGaps: true, points: {show: false}, scale: "y"};
    if (curve.kind === "band") {
      bands.push({series: [series.length, series.length + 1], fill: faint(hue, .15)});
      tables.push([curve.steps, curve.values, curve.band]);
      series.push({...line, stroke: "transparent"}, {...line, stroke: "transparent"});
      continue;
    }
    tables.push([curve.steps, curve.values]);
    if (curve.called) named.push([curve, series.length]);
    series.push({...line,
      stroke: curve.kind === "raw" ? faint(hue, .3) : curve.kind === "base" ? faint(hue, .75) : hue,
      width: {raw: 1, smooth: 2, held: 1.75, base: 1.25}[curve.kind],
      dash: curve.kind === "base" ? [5, 4] : curve.dashed ? [9, 3] : undefined,
      points: {show: held ? curve.steps.length <= 80 : curve.values.filter(isNumber).length === 1, size: 6, fill: hue, width: 0},
    });
  }
  const joined = uPlot.join(tables);
  const values = named.map(([curve]) => {
    const key = make("i", {base: "dash", held: "held"}[curve.kind] ?? ""), now = make("span");
    key.style.color = key.style.borderColor = colour(curve.hue);
    keys.append(make("span", "", key, curve.called, now));
    return now;
  });
  const tell = chart => named.forEach(([curve, index], which) => {
    let here = chart.cursor.idx;
    if (here === null || here === undefined) return void (values[which].textContent = "");
    while (here > 0 && !isNumber(joined[index][here])) here--;
    values[which].textContent = isNumber(joined[index][here]) ? said(joined[index][here], curve.metric) : "";
  });
  const axis = {stroke: ink("--quiet"), font: "11px system-ui, sans-serif", ticks: {show: false}, grid: {stroke: ink("--grid"), width: 1}};
  const chart = new uPlot({
    width: Math.max(120, host.clientWidth), height: 176, series, bands,
    scales: {x: {time: false}, y: {range: (self, low, high) => range}},
    axes: [
      {...axis, size: 26, gap: 4, space: 60, values: (self, marks) => marks.map(mark => Number.isInteger(mark) ? count(mark) : "")},
      {...axis, size: 50, gap: 5, space: 32, values: (self, marks) => marks.map(mark => share ? `${+(100 * mark).toFixed(1)}%` : short(mark))},
    ],
    legend: {show: false},
    cursor: {sync: {key: "steps", setSeries: false, scales: ["x", null]}, points: {show: false}, y: false},
    hooks: {setCursor: [tell]},
  }, joined, host);
  drawn.push({chart, host});
}

// Each picture is drawn when it comes near the window.
const near = new IntersectionObserver(found => {
  for (const each of found) if (each.isIntersecting) { near.unobserve(each.target); each.target.draw(); }
}, {rootMargin: "400px"});
const sized = new ResizeObserver(found => {
  for (const {target} of found) {
    const one = drawn.find(each => each.host === target);
    if (one && target.clientWidth > 60 && one.chart.width !== target.clientWidth) one.chart.setSize({width: target.clientWidth, height: 176});
  }
});

function figure(panel, runs, look) {
  const halves = panel.pair && ["train", "dev"].every(split => curves(panel, runs, [split], look).length) ? [["train"], ["dev"]] : [["train", "dev"]];
  const node = make("figure", `chart card${halves.length > 1 ? " pair" : ""}`,
    make("figcaption", "", make("b", "", panel.title), make("span", "", panel.says)));
  const places = halves.map(splits => {
    const keys = make("div", "keys"), host = make("div", "plot");
    const heading = halves.length > 1 ? make("p", "half", splits[0] === "train" ? "Training" : "Held-out") : null;
    return {splits, keys, host, node: make("div", "", heading, keys, host)};
  });
  node.append(make("div", halves.length > 1 ? "halves" : "", places.map(each => each.node)));
  node.setAttribute("aria-label", `${panel.title}, by step`);
  node.draw = () => {
    const sets = places.map(each => curves(panel, runs, each.splits, look)), range = extent(sets.flat());
    places.forEach((each, index) => { plot(each.host, each.keys, sets[index], range, panel.share); sized.observe(each.host); });
  };
  near.observe(node);
  return node;
}

function drawCharts(runs, look) {
  for (const each of drawn) each.chart.destroy();
  drawn = [];
  const panels = new Map();
  for (const run of runs) for (const panel of run.panels) {
    const before = panels.get(panel.title);
    panels.set(panel.title, before ? {...before, metrics: [...new Set([...before.metrics, ...panel.metrics])]} : panel);
  }
  at("charts").replaceChildren(...[...panels.values()].filter(panel => look.others || !panel.other).map(panel => figure(panel, runs, look)));
}
