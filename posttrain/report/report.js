// The page: what the run directories say, in the order in which people ask.
const data = JSON.parse(at("data").textContent);
const byName = Object.fromEntries(data.runs.map(run => [run.name, run]));

function change(name, before, after) {
  const kind = !isNumber(before) || !isNumber(after) || after === before ? "" : (name === "loss") === (after < before) ? "good" : "bad";
  return {kind, text: isNumber(before) ? `${said(before, name)} → ${said(after, name)}` : said(after, name)};
}

function showTiles() {
  const runs = data.runs, last = [...runs].reverse().find(run => run.asked), tiles = [];
  const tile = (what, figure, how, kind = "") => tiles.push(make("div", "tile card", make("div", "what", what), make("div", `figure ${kind}`, figure), make("div", "how", how)));
  for (const run of runs.filter(run => run.asked && run.headline).slice(-4)) {
    const {kind, text} = change(run.headline, run.before[run.headline], run.after[run.headline]);
    tile(`${run.name} · held-out ${run.headline}`, text, run.problems ? `${count(run.problems)} problems` : "held-out rows", kind);
  }
  if (last && !last.finished) tile(`${last.name} is unfinished`, `step ${count(last.steps)}`, last.all_steps ? `of ${count(last.all_steps)}` : "no run.json");
  if (runs.length) {
    const sum = key => runs.reduce((total, run) => total + run[key], 0);
    tile("time", clock(sum("seconds")), `${count(runs.length)} ${runs.length > 1 ? "stages" : "stage"}`);
    tile("tokens trained on", amount(sum("tokens")), sum("tokens") ? `${count(Math.round(sum("tokens") / sum("seconds")))} a second` : "");
    const rang = runs.reduce((total, run) => total + run.alarms.length, 0);
    tile("alarms", rang ? count(rang) : "none", rang ? "rang" : "", rang ? "bad" : "");
  }
  at("tiles").replaceChildren(...tiles);
  const when = runs.map(run => run.when).filter(Boolean).sort().at(-1);
  at("about").textContent = [runs.length ? `${count(runs.length)} ${runs.length > 1 ? "runs" : "run"}` : "", data.evals.length ? `${count(data.evals.length)} ${data.evals.length > 1 ? "evals" : "eval"}` : "",
    when ? `last finished ${when.slice(0, 16).replace("T", " ")} UTC` : ""].filter(Boolean).join(" · ");
}

function showLineage() {
  at("lineage").hidden = !data.chains.length;
  at("chains").replaceChildren(...data.chains.map(chain => make("div", "chain", chain.flatMap((step, index) => {
    const run = byName[step.run], name = run?.headline;
    const facts = run ? [name ? `${name} ${change(name, run.before[name], run.after[name]).text}` : "", `${count(run.steps)} steps · ${clock(run.seconds)} · ${amount(run.tokens)} tokens`, run.finished ? "" : "unfinished"]
      : [step.stage === "base" ? "" : "its directory is not here"];
    const card = make("div", `card${index === chain.length - 1 ? " now" : ""}`, make("div", "stage", step.stage), make("div", "name", step.name), facts.filter(Boolean).map(fact => make("div", "facts", fact)));
    return index ? [make("div", "arrow", "→"), card] : [card];
  }))));
  at("recipes").replaceChildren(...data.runs.map(run => {
    const against = byName[run.parent] ? run.parent : null;
    const body = against ? [make("p", "quiet", `What it changes against the recipe of ${against}:`), table(["key", "there", "here"], run.changes.map(([key, there, here]) => [key, there || "–", here || "–"]), "words fixed")] : [];
    const whole = make("details", "", make("summary", "", "The whole recipe"), make("pre", "", run.recipe));
    return make("details", "card", make("summary", "", `Recipe of ${run.name}`, against ? make("span", "quiet", ` · ${count(run.changes.length)} keys differ from ${against}`) : ""), body, against ? whole : make("pre", "", run.recipe));
  }));
}

function showAlarms() {
  const rang = data.runs.flatMap(run => run.alarms.map(alarm => [run, alarm]));
  at("alarms").hidden = !rang.length;
  at("rang").replaceChildren(...rang.map(([run, alarm]) => make("div", "alarm card", make("b", "", alarm.alarm ?? "alarm"), make("span", "quiet", ` · ${run.name} · step ${alarm.step}`), make("div", "", alarm.says ?? ""), make("div", "quiet", alarm.fix ?? ""))));
}

function showCurves() {
  at("curves").hidden = !data.runs.length;
  const picked = new Set([data.runs.findLast(run => run.asked)].filter(Boolean));
  // Weights for a mean over about one point in thirty, or over what the slider says.
  const look = {raw: true, others: false, weight: points => at("smoothing").value === "0" ? 0 : 1 - 1 / Math.max(1, points * (at("smoothing").value / 100) ** 2)};
  at("smoothing").value = 30;
  const chips = data.runs.map((run, index) => {
    const dot = make("i", "dot"), chip = make("button", "chip", dot, `${run.name}`);
    chip.type = "button";
    chip.title = "Click: this run. With Ctrl or ⌘: overlay.";
    chip.onclick = event => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) picked.has(run) && picked.size > 1 ? picked.delete(run) : picked.add(run);
      else { picked.clear(); picked.add(run); }
      refresh();
    };
    return {run, chip, dot};
  });
  at("chips").replaceChildren(...chips.flatMap(each => [each.chip, " "]));
  function refresh() {
    look.raw = at("raw").checked;
    look.others = at("others").checked;
    const runs = data.runs.filter(run => picked.has(run));
    for (const each of chips) {
      each.chip.setAttribute("aria-pressed", picked.has(each.run));
      each.dot.style.background = picked.has(each.run) ? colour(runs.length > 1 ? runs.indexOf(each.run) : 0) : "var(--line)";
    }
    const wide = runs.filter(run => run.train.width > 1 || run.dev.width > 1);
    at("curves-say").textContent = "Thin: as logged. Bold: smoothed. Dots: held-out rows, with the 95% interval where it is known. Dashed: the model at step 0. Drag to zoom, double-click to go back."
      + wide.map(run => ` ${run.name}: ${count(run.train.logged)} logged steps, of which a point is the mean of ${count(Math.max(run.train.width, run.dev.width))}, with the lowest and the highest as a band.`).join("");
    drawCharts(runs, look);
  }
  let waiting;
  at("smoothing").oninput = () => { clearTimeout(waiting); waiting = setTimeout(refresh, 80); };
  at("raw").onchange = at("others").onchange = refresh;
  themed(at("theme"), refresh);
  refresh();
}

function showEvals() {
  at("evals").hidden = !data.evals.length;
  at("tables").replaceChildren(...data.evals.map(found => {
    const same = found.lines.every(line => Math.abs(line.reward - line["pass@1"]) < 1e-9);
    const figures = found.figures.filter(name => !(name === "reward" && same));
    const scale = name => {
      const all = found.lines.flatMap(line => [line[name], ...(line[`${name}_ci95`] ?? [])]).filter(isNumber);
      return [Math.min(0, ...all), Math.max(isShare(name) ? 1 : 0, ...all)];
    };
    const rows = found.lines.map(line => [line.label, count(line.problems), ...figures.map(name => {
      if (!isNumber(line[name])) return "–";
      const stderr = line[`${name}_stderr`], text = said(line[name], name) + (isNumber(stderr) ? ` ± ${isShare(name) ? (100 * stderr).toFixed(1) : short(stderr)}` : "");
      return make("td", "", text, whisker(line[name], line[`${name}_ci95`], ...scale(name)));
    }), short(line["completions/mean_length"]), `${Math.round(100 * line.truncated / line.samples)}%`, count(line.grader_errors ?? 0)]);
    return make("div", "", make("h3", "", found.name), table(["model", "problems", ...figures, "tokens", "cut off", "errors"], rows), found.differences.length ? differences(found, figures) : null);
  }));
}

function differences(found, figures) {
  const labels = found.lines.map(line => line.label), pick = make("select"), place = make("div");
  pick.append(...labels.map(label => new Option(label, label)));
  pick.onchange = draw;
  function draw() {
    const here = found.differences.filter(each => each.baseline === pick.value);
    const bounds = name => Math.max(...here.filter(each => each.figure === name).flatMap(each => [each.difference, ...(each.ci95 ?? [])].map(Math.abs)), 1e-9);
    const rows = labels.filter(label => label !== pick.value).map(label => [label, ...figures.map(name => {
      const one = here.find(each => each.label === label && each.figure === name);
      if (!one) return "–";
      const sure = one.ci95 && (one.ci95[0] > 0 ? "good" : one.ci95[1] < 0 ? "bad" : "");
      const text = signed(one.difference, name) + (one.ci95 ? ` [${one.ci95.map(each => signed(each, name)).join(", ")}]` : "");
      return make("td", sure || "", text, whisker(one.difference, one.ci95, -bounds(name), bounds(name), 0));
    })]);
    const clustered = here.some(each => each.clustered) ? " Problems were grouped: the intervals are in the eval's own table." : "";
    place.replaceChildren(table(["difference", ...figures], rows), make("p", "quiet", `Points above ${pick.value} on the same problems, with the 95% interval of the paired difference; coloured where it leaves out 0.${clustered}`));
  }
  draw();
  return make("div", "", make("div", "controls", make("label", "", "compared with ", pick)), place);
}

function showFigures() {
  at("figures").hidden = !data.runs.length;
  at("metrics").replaceChildren(...data.runs.map(run => {
    const rows = ["train", "dev"].flatMap(split => Object.entries(run[split].values).filter(([name]) => name !== "seconds").map(([name, values]) => {
      const there = values.filter(isNumber);
      const least = (run[split].width > 1 && run[split].low[name] || there).filter(isNumber), most = (run[split].width > 1 && run[split].high[name] || there).filter(isNumber);
      const ends = [there[0], there.at(-1), least.reduce((a, b) => Math.min(a, b), Infinity), most.reduce((a, b) => Math.max(a, b), -Infinity)];
      return [name, split === "dev" ? "held-out" : "training", ...ends.map(value => said(value, name))];
    }));
    const node = make("details", "card", make("summary", "", run.name));
    node.addEventListener("toggle", () => { if (node.open && node.children.length < 2) node.append(table(["metric", "rows", "first", "last", "lowest", "highest"], rows)); });
    return node;
  }));
}

function showFacts() {
  at("data-and-cost").hidden = !data.runs.length;
  const rows = [
    ["stage", run => run.stage], ["started from", run => run.parent],
    ["rows", run => Object.entries(run.rows).filter(each => each[1]).map(([part, number]) => `${count(number)} ${part}`).join(", ") || "–"],
    ...["train", "dev", "problems", "unseen"].map(part => [`${part} from`, run => run.sources.filter(source => source.part === part).map(source => [source.path, source.how].filter(Boolean).join(" · ")).join("\n")]),
    ["looks at unseen problems", run => count(run.unseen_looks)], ["data digest", run => (run.digests.data ?? "").slice(0, 12)],
    ["recipe digest", run => (run.digests.recipe ?? "").slice(0, 12)], ["parent digest", run => (run.digests.parent ?? "").slice(0, 12)],
    ["steps", run => count(run.steps)], ["time", run => clock(run.seconds)], ["tokens", run => count(run.tokens)],
    ["tokens a second", run => run.seconds && run.tokens ? count(Math.round(run.tokens / run.seconds)) : "–"],
    ["hardware", run => Object.entries(run.hardware).map(([name, value]) => `${name}: ${value}`).join(", ")],
    ["versions", run => Object.entries(run.versions).map(([name, value]) => `${name} ${value}`).join(", ")],
  ].map(([name, of]) => [name, ...data.runs.map(run => of(run) || "–")]).filter(row => row.slice(1).some(cell => cell !== "–"));
  at("facts").replaceChildren(table(["", ...data.runs.map(run => run.name)], rows, "words"));
}

showTiles();
showLineage();
showAlarms();
showCurves();
showEvals();
showSamples(data.samples);
showFigures();
showFacts();
for (const link of document.querySelectorAll("#nav a")) link.hidden = document.querySelector(link.getAttribute("href")).hidden;
