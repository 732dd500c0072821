// Text only ever becomes text nodes: nothing in it is read as HTML.
const at = id => document.getElementById(id);
const count = number => number.toLocaleString("en");

function make(tag, kind, ...inside) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  node.append(...inside.flat().filter(each => each !== null && each !== undefined && each !== ""));
  return node;
}

function marked(words, needle) {
  if (!needle) return [words];
  const found = [], low = words.toLowerCase();
  let from = 0;
  for (let hit = low.indexOf(needle); hit >= 0; hit = low.indexOf(needle, from)) {
    found.push(words.slice(from, hit), make("mark", "", words.slice(hit, hit + needle.length)));
    from = hit + needle.length;
  }
  return [...found, words.slice(from)];
}

const isDark = () => document.documentElement.dataset.theme
  ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

// The button that goes from light to dark and back; `after` is called when the colours have changed.
function themed(button, after = () => {}) {
  button.onclick = () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; after(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", after);
}
