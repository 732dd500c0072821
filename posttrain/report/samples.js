// Completions with their grades: filtered, searched and paged; on one prompt, before against after.
const PAGE = 10;
const [SOURCE, PROMPT, NUMBER, TEXT, SCORE, PASSED, ANSWER, NOTE, ERROR, PARTS, TOKENS, TRUNCATED, PLACE] = Array(13).keys();

function showSamples(samples) {
  if (!samples.rows.length) return;
  at("samples").hidden = false;
  const {sources, prompts, rows} = samples;
  const bySource = sources.map(() => new Map()), lower = new Map();
  for (const row of rows) {
    const groups = bySource[row[SOURCE]];
    if (!groups.has(row[PROMPT])) groups.set(row[PROMPT], []);
    groups.get(row[PROMPT]).push(row);
  }
  const options = () => sources.map((source, index) => new Option(source.label, index));
  const compared = sources.map((source, index) => [source, index]).filter(([source]) => source.kind !== "train");
  for (const id of ["left", "right"]) at(id).append(...compared.map(([source, index]) => new Option(source.label, index)));
  at("source").append(...options());
  const [left, right] = ends(compared, bySource);
  if (left === undefined) {
    at("mode").value = "all";
    at("mode").parentNode.hidden = true;
  } else {
    at("left").value = left;
    at("right").value = right;
  }
  at("mode").querySelectorAll("option").forEach(option => { option.defaultSelected = option.value === at("mode").value; });
  for (const id of ["left", "right"]) for (const option of at(id).options) option.defaultSelected = option.value === at(id).value;
  const cut = samples.seen > samples.kept ? ` ${count(samples.kept)} of ${count(samples.seen)} are in this page: the first and last looks whole, the rest drawn at random by problem.` : "";
  at("samples-say").textContent = `What the model wrote, with the verdict of the graders.${cut}`;
  let page = 0, items = [];

  // Only the texts that are searched are lowered, once.
  const words = row => {
    if (!lower.has(row)) lower.set(row, [row[TEXT], row[ANSWER] ?? "", row[NOTE], row[ERROR], row[PLACE], ...prompts[row[PROMPT]].map(turn => turn[1])].join("\n").toLowerCase());
    return lower.get(row);
  };
  const share = group => group.reduce((sum, row) => sum + row[PASSED], 0) / group.length;
  const fits = (row, asked) => (!asked.verdict || verdict(row) === asked.verdict) && (!asked.truncated || row[TRUNCATED]) && (!asked.text || words(row).includes(asked.text));

  function asked() {
    return {...Object.fromEntries(["mode", "left", "right", "moved", "source", "verdict"].map(id => [id, at(id).value])),
      text: at("text").value.toLowerCase(), truncated: at("truncated").checked};
  }

  function refresh() {
    const wanted = asked(), pairs = wanted.mode === "pairs";
    document.querySelectorAll(".of-pairs").forEach(node => { node.hidden = !pairs; });
    document.querySelectorAll(".of-all").forEach(node => { node.hidden = pairs; });
    if (pairs) {
      const before = bySource[wanted.left], after = bySource[wanted.right];
      items = [...after.keys()].filter(prompt => before.has(prompt)).map(prompt => [before.get(prompt), after.get(prompt)])
        .filter(([was, is]) => !wanted.moved || wanted.moved === ["worse", "same", "better"][Math.sign(share(is) - share(was)) + 1])
        .filter(sides => sides.flat().some(row => fits(row, wanted)));
      at("found").textContent = `${count(items.length)} of ${count([...after.keys()].filter(prompt => before.has(prompt)).length)} prompts`;
    } else {
      const from = wanted.source === "" ? rows : rows.filter(row => row[SOURCE] === +wanted.source);
      items = from.filter(row => fits(row, wanted)).map(row => [[row]]);
      at("found").textContent = `${count(items.length)} of ${count(from.length)} completions`;
    }
    page = 0;
    draw();
  }

  function draw() {
    const needle = at("text").value.toLowerCase(), pages = Math.max(1, Math.ceil(items.length / PAGE));
    const here = items.slice(page * PAGE, page * PAGE + PAGE);
    at("list").replaceChildren(...(here.length ? here.map(sides => card(sides, needle)) : [make("p", "quiet", "No completion fits.")]));
    at("place").textContent = `page ${count(page + 1)} of ${count(pages)}`;
    at("back").disabled = page === 0;
    at("next").disabled = page >= pages - 1;
  }

  function card(sides, needle) {
    const first = sides[0][0], both = sides.length > 1;
    const moved = both ? `solved ${percent(share(sides[0]))} → ${percent(share(sides[1]))}` : sources[first[SOURCE]].label;
    const kind = !both ? "" : share(sides[1]) > share(sides[0]) ? "good" : share(sides[1]) < share(sides[0]) ? "bad" : "";
    return make("article", "sample card",
      make("div", "asked", make("div", "top", make("span", kind, moved), make("span", "", first[PLACE])),
        prompts[first[PROMPT]].map(([role, text]) => folded(make("div", "said", make("span", "role", role), marked(text, needle)), text, needle))),
      make("div", "sides", sides.map(group => make("div", "side", both ? make("div", "from", sources[group[0][SOURCE]].label) : null, several(group, needle)))));
  }

  function several(group, needle) {
    const first = group.slice(0, 2).map(row => one(row, needle)), rest = group.slice(2);
    if (!rest.length) return first;
    const more = make("button", "more", `${count(rest.length)} more`);
    more.type = "button";
    more.onclick = () => more.replaceWith(...rest.map(row => one(row, needle)));
    return [...first, more];
  }

  const percent = part => `${Math.round(100 * part)}%`;
  for (const id of ["back", "next"]) at(id).onclick = () => { page += id === "next" ? 1 : -1; draw(); at("samples").scrollIntoView(); };
  let waiting;
  at("filter").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(refresh, 120); });
  at("filter").addEventListener("reset", () => setTimeout(refresh));
  at("filter").addEventListener("submit", event => event.preventDefault());
  document.addEventListener("keydown", event => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || document.activeElement.matches("input[type=search], select")) return;
    event.preventDefault();
    at("text").focus();
  });
  refresh();
}

const verdict = row => row[ERROR] ? "error" : row[PASSED] ? "passed" : "failed";

// The first and the last look of the last run that has two with a prompt in common; else two lines of an eval.
function ends(compared, bySource) {
  const common = (a, b) => [...bySource[a].keys()].some(prompt => bySource[b].has(prompt));
  for (const kind of ["dev", "eval"]) for (const [last, end] of [...compared].reverse()) {
    const first = compared.find(([source, index]) => source.kind === kind && source.run === last.run && index < end && common(index, end));
    if (first && last.kind === kind) return [first[1], end];
  }
  return [];
}

function one(row, needle) {
  const kind = verdict(row);
  const parts = row[PARTS].map(([name, score, passed]) => make("span", passed ? "good" : "bad", `${passed ? "✓" : "✗"} ${name}${isNumber(score) && score % 1 ? " " + short(score) : ""}`));
  return make("div", "one",
    make("div", "grade",
      make("span", `mark ${kind === "error" ? "broken" : kind}`, kind === "error" ? "no verdict" : `${kind}${isNumber(row[SCORE]) && row[SCORE] % 1 ? " " + short(row[SCORE]) : ""}`),
      row[ANSWER] !== null ? make("span", "", "answer ", marked(row[ANSWER], needle)) : null,
      row[NOTE] ? make("span", "", marked(row[NOTE], needle)) : null, row[ERROR] ? make("span", "", marked(row[ERROR], needle)) : null,
      parts, make("span", "", `${row[TOKENS] ?? "?"} tokens${row[TRUNCATED] ? ", cut off" : ""}`)),
    folded(make("div", "said", marked(row[TEXT], needle)), row[TEXT], needle));
}

function folded(node, text, needle) {
  if (text.length < 900 && text.split("\n").length < 14 || needle && text.toLowerCase().includes(needle)) return node;
  node.classList.add("fold");
  const more = make("button", "more", `Show all ${count(text.length)} characters`);
  more.type = "button";
  more.onclick = () => { node.classList.remove("fold"); more.remove(); };
  return make("div", "", node, more);
}
