// Numbers as people read them, and the small parts that several sections share.
const isShare = name => /^(pass@|pass\^|maj@|parts_passed|mean_token_accuracy|rewards\/accuracies|completions\/clipped_ratio|rollout\/equal_rewards|frac_reward_zero_std|clip_ratio)/.test(name);
const isNumber = value => typeof value === "number" && Number.isFinite(value);

function short(value) {
  if (!isNumber(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2).replace("e+", "e");
  if (size >= 1000) return count(Math.round(value));
  return String(+value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4));
}
const said = (value, name) => !isNumber(value) ? "–" : isShare(name) ? `${(100 * value).toFixed(1)}%` : short(value);
const signed = (value, name) => (value > 0 ? "+" : value < 0 ? "−" : "±") + (isShare(name) ? (100 * Math.abs(value)).toFixed(1) : short(Math.abs(value)));

function clock(seconds) {
  if (!seconds) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} days`;
}
function amount(number) {
  if (!number) return "–";
  const unit = [[1e9, "B"], [1e6, "M"], [1e4, "k", 1e3]].find(each => number >= each[0]);
  return unit ? `${(number / (unit[2] ?? unit[0])).toFixed(1)} ${unit[1]}` : count(number);
}

function table(heading, rows, kind = "") {
  const head = make("tr", "", heading.map(name => make("th", "", name)));
  const body = rows.map(row => make("tr", "", row.map(cell => cell instanceof Node && cell.tagName === "TD" ? cell : make("td", "", cell))));
  return make("div", "wide card", make("table", kind, make("thead", "", head), make("tbody", "", body)));
}

// A point with its 95% interval on a scale from `low` to `high`; `zero` is drawn where there is one.
function whisker(value, bounds, low, high, zero = null) {
  const node = make("div", "whisker"), place = x => `${Math.min(100, Math.max(0, 100 * (x - low) / (high - low || 1)))}%`;
  if (zero !== null) {
    const line = make("u");
    line.style.left = place(zero);
    node.append(line);
  }
  if (bounds) {
    const bar = make("i");
    bar.style.left = place(bounds[0]);
    bar.style.right = `calc(100% - ${place(bounds[1])})`;
    node.append(bar);
  }
  const point = make("b");
  point.style.left = place(value);
  node.append(point);
  return node;
}
