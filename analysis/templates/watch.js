// Draws the page of a sweep from the JSON in it: filters, arms, curves, scatter, parallel coordinates, lists of runs.
const data = JSON.parse(document.getElementById("data").textContent);
const { words, keys, arms, measure } = data;
const count = arms.mean.length;
const say = (word, ...values) => {
  let next = 0;
  return (words[word] ?? word).replace(/\{(\d?)\}/g, (_, place) => values[place === "" ? next++ : +place]);
};

// Elements
const element = (name, properties = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) key in made ? (made[key] = value) : made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const drawn = (name, properties = {}, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(properties)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const fill = (id, ...children) => document.getElementById(id).replaceChildren(...children);
const table = (heads, rows) => element("div", { className: "wide", tabIndex: 0 },
  element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)));
const cell = (content, className = "") => element("td", { className }, content);
const head = (content, className = "") => element("th", { className }, content);

// Words
const shown = value => value === null ? "–" : value.toFixed(measure.digits).replace("-", "−");
const half = arm => arms.half[arm] === null ? "" : ` ± ${shown(arms.half[arm])}`;
const unit = measure.unit === "%" ? "%" : measure.unit && ` ${measure.unit}`;
const label = measure.unit ? `${measure.name} (${measure.unit})` : measure.name;
const duration = seconds => {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [[Math.floor(whole / 3600), "h"], [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"]];
  const first = parts.findIndex(([number]) => number > 0);
  return first < 0 ? "0 s" : parts.slice(first, first + 2).map(([number, name]) => `${number} ${name}`).join(" ");
};
const value = (key, arm) => key.values[key.codes[arm]];
const named = arm => keys.map(key => `${key.name}=${value(key, arm)}`).join(" ") || say("all");

// What a reader has chosen: kept behind the # of the address, so that it outlives a reload
const FEW = 24;
let chosen = {}, look = {}, sorted = { by: "mean", down: measure.better >= 0 };
try { ({ chosen, look, sorted } = { chosen, look, sorted, ...JSON.parse(decodeURIComponent(location.hash.slice(1))) }); } catch { /* none */ }
const keep = () => {
  history.replaceState(null, "", `#${encodeURIComponent(JSON.stringify({ chosen, look, sorted }))}`);
  draw();
};
const passes = arm => keys.every(key => {
  const wanted = chosen[key.name], own = value(key, arm);
  if (wanted === undefined) return true;
  return Array.isArray(wanted) ? (wanted[0] === null || own >= wanted[0]) && (wanted[1] === null || own <= wanted[1])
    : String(own) === wanted;
});
const choose = (name, wanted) => {
  if (wanted === undefined) delete chosen[name]; else chosen[name] = wanted;
  keep();
};
const filter = key => {
  const now = chosen[key.name];
  if (!key.number || (key.values.length <= FEW && !data.search)) {
    const options = key.values.map(own => element("option", { value: String(own), selected: String(own) === now }, String(own)));
    const select = element("select", { name: key.name }, element("option", { value: "" }, say("all")), ...options);
    select.addEventListener("change", () => choose(key.name, select.value || undefined));
    return element("label", {}, key.name, select);
  }
  const ends = [0, 1].map(place => element("input", { type: "number", step: "any", name: `${key.name}.${place}`,
    placeholder: String(key.values[place ? key.values.length - 1 : 0]), value: now?.[place] ?? "" }));
  const read = () => ends.map(end => end.value === "" ? null : +end.value);
  ends.forEach(end => end.addEventListener("change", () => {
    const wanted = read();
    choose(key.name, wanted.every(one => one === null) ? undefined : wanted);
  }));
  return element("label", {}, key.name, element("span", { className: "range" }, ends[0], say("to"), ends[1]));
};
const filters = () => {
  const open = keys.filter(key => key.values.length > 1);
  const clear = element("button", { type: "button" }, say("clear"));
  clear.addEventListener("click", () => { chosen = {}; keep(); filters(); });
  fill("filters", ...(count > 1 && open.length ? [...open.map(filter), clear] : []));
};

// Status
const COLOURS = { finished: data.colours[0], running: data.colours[2], diverged: data.colours[3], failed: data.colours[1] };
const status = () => {
  const parts = Object.entries(data.counts).filter(([, number]) => number).map(([kind, number]) => `${number} ${say(kind)}`);
  const bar = Object.entries(COLOURS).map(([kind, colour]) =>
    element("span", { style: `width: ${100 * data.counts[kind] / data.runs}%; background: ${colour}`, title: say(kind) }));
  const left = data.left !== null && data.state === "goes on" ? `, ${say("left", duration(data.left))}` : "";
  const age = element("span", { className: "note", id: "age" });
  fill("status", element("strong", {}, `${say(data.state)}: ${say("of", data.counts.finished, data.runs)}${left}`),
    element("div", { className: "bar" }, ...bar), element("span", {}, say("sentence", parts.join(say("comma")))), age);
  const tell = () => {
    const old = Date.now() / 1000 - data.updated, at = new Date(1000 * data.updated).toLocaleTimeString(document.documentElement.lang);
    const stale = data.state !== "ended" && old > 6 * data.every + 30;
    age.textContent = stale ? say("stale", duration(old)) : say("updated", at);
  };
  tell();
  setInterval(tell, 1000);
};

// Arms
const STEP = 20;
let visible = STEP, visibleBad = STEP;
const order = list => {
  const key = keys.find(one => one.name === sorted.by);
  const of = key ? arm => value(key, arm) : arm => arms[sorted.by][arm];
  const compare = (a, b) => typeof a === "string" || typeof b === "string" ? String(a).localeCompare(String(b)) : a - b;
  const sign = sorted.down ? -1 : 1;
  return [...list].sort((a, b) => (of(a) === null) - (of(b) === null) || sign * compare(of(a), of(b)) || a - b);
};
const range = (list, spread = () => 0) => {
  let [low, high] = [Infinity, -Infinity];
  for (const [number, more] of list.map(one => [one, spread(one)])) {
    if (number === null) continue;
    low = Math.min(low, number - more);
    high = Math.max(high, number + more);
  }
  if (low > high) return [0, 1];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
};
const interval = (arm, [low, high]) => {
  const at = number => 4 + 152 * Math.min(1, Math.max(0, (number - low) / (high - low)));
  const svg = drawn("svg", { width: 160, height: 16, role: "img", "aria-label": `${shown(arms.mean[arm])}${half(arm)}` });
  if (arms.mean[arm] === null) return svg;
  const [middle, width] = [arms.mean[arm], arms.half[arm] ?? 0];
  svg.append(drawn("line", { x1: at(middle - width), x2: at(middle + width), y1: 8, y2: 8, stroke: data.colours[0], "stroke-width": 3 }),
    drawn("circle", { cx: at(middle), cy: 8, r: 4, fill: data.colours[0] }));
  return svg;
};
const middles = list => { // of wide intervals, of two seeds say, the ends are cut off: the means must be told apart
  const means = list.map(arm => arms.mean[arm]).filter(mean => mean !== null), [low, high] = range(means);
  const widest = Math.max(0, ...list.map(arm => arms.half[arm] ?? 0));
  if (widest && new Set(means).size === 1) return [means[0] - 1.5 * widest, means[0] + 1.5 * widest];
  const more = Math.min(widest, 2 * (high - low));
  return [low - more, high + more];
};
const more = (left, act) => {
  const made = element("button", { type: "button", hidden: left <= 0 }, say("more", Math.min(10 * STEP, left)));
  made.addEventListener("click", () => { act(); draw(); });
  return made;
};
const showArms = list => {
  const heads = [...keys.map(key => [key.name, key.name, key.number]), ["finished", say("runs"), true],
    ["mean", `${label}: ${say("mean")}`, true]];
  const sortable = heads.map(([by, text, number]) => {
    const made = head(text, `sorts ${number ? "number" : ""}`);
    made.tabIndex = 0;
    if (sorted.by === by) made.ariaSort = sorted.down ? "descending" : "ascending";
    const sort = () => { sorted = { by, down: sorted.by === by ? !sorted.down : by === "mean" && measure.better >= 0 }; keep(); };
    made.addEventListener("click", sort);
    made.addEventListener("keydown", event => event.key === "Enter" && sort());
    return made;
  });
  const rows = order(list).slice(0, visible), ends = middles(rows);
  const wrong = arm => ["failed", "diverged", "running"].filter(kind => arms[kind][arm])
    .map(kind => `${arms[kind][arm]} ${say(kind)}`).join(", ");
  const bodies = rows.map(arm => element("tr", {}, ...keys.map(key => cell(String(value(key, arm)), key.number ? "number" : "")),
    cell(`${arms.finished[arm]} / ${arms.planned[arm]}`, "number"),
    cell(arms.mean[arm] === null ? "–" : `${shown(arms.mean[arm])}${half(arm)}`, "number"),
    cell(interval(arm, ends)), cell(wrong(arm))));
  const single = arms.half.every(one => one === null);
  fill("arms", element("h2", {}, `${say("arms")} (${say("chosen", list.length, count)})`),
    element("p", { className: "note" }, say(single ? "one seed" : "arms note")),
    table([...sortable, head(say("interval")), head("")], bodies), more(list.length - visible, () => { visible += 10 * STEP; }));
};

// Axes
const ticks = (low, high, most) => {
  const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find(factor => factor * power >= raw);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + 1e-9 * step; at++) found.push(+(at * step).toPrecision(12));
  return found;
};

// Curves
const BEST = data.colours.length;
const ranked = list => [...list].filter(arm => data.curves[arm]).sort((a, b) =>
  (arms.mean[a] === null) - (arms.mean[b] === null) || -(measure.better || 1) * (arms.mean[a] - arms.mean[b]) || a - b);
const showCurves = list => {
  const best = ranked(list).slice(0, BEST);
  if (!best.length) return fill("curves");
  const width = Math.min(860, document.body.clientWidth - 24), size = 320, [left, right, top, bottom] = [62, 12, 10, 40];
  const all = best.flatMap(arm => data.curves[arm][1]).filter(one => one !== null).sort((a, b) => a - b);
  const ends = best.map(arm => data.curves[arm][1].findLast(one => one !== null));
  let [low, high] = range([all[Math.floor(0.05 * all.length)] ?? null, all[Math.ceil(0.95 * all.length) - 1] ?? null, ...ends]);
  [low, high] = [low - 0.08 * (high - low), high + 0.08 * (high - low)];
  const last = Math.max(...best.map(arm => data.curves[arm][0].at(-1)));
  const x = epoch => left + (width - left - right) * (last > 1 ? (epoch - 1) / (last - 1) : 0.5);
  const y = number => top + (size - top - bottom) * (1 - (number - low) / (high - low));
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${size}`, width, role: "img", "aria-label": label },
    drawn("clipPath", { id: "inside" }, drawn("rect", { x: left - 5, y: top, width: width - left - right + 10, height: size - top - bottom })));
  for (const at of ticks(low, high, 6)) svg.append(drawn("line", { class: "axis", x1: left, x2: width - right, y1: y(at), y2: y(at) }),
    drawn("text", { x: left - 6, y: y(at) + 4, "text-anchor": "end" }, String(at)));
  for (const at of last > 1 ? ticks(1, last, 10).filter(Number.isInteger) : [1])
    svg.append(drawn("text", { x: x(at), y: size - bottom + 18, "text-anchor": "middle" }, String(at)));
  svg.append(drawn("text", { x: width - right, y: size - 4, "text-anchor": "end" }, say("epoch")),
    drawn("text", { x: 4, y: size - 4 }, label));
  const inside = drawn("g", { "clip-path": "url(#inside)" });
  best.forEach((arm, place) => {
    const colour = data.colours[place], [epochs, means, halves] = data.curves[arm];
    const points = epochs.map((epoch, at) => [epoch, means[at], halves[at]]).filter(([, mean]) => mean !== null);
    const band = points.filter(([, , half]) => half !== null);
    if (band.length > 1) inside.append(drawn("polygon", { fill: colour, opacity: 0.15, points: [
      ...band.map(([epoch, mean, half]) => `${x(epoch)},${y(mean + half)}`),
      ...band.reverse().map(([epoch, mean, half]) => `${x(epoch)},${y(mean - half)}`)].join(" ") }));
    inside.append(drawn("polyline", { fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": ["", "7 3", "7 3 2 3", "2 3"][place % 4],
      points: points.map(([epoch, mean]) => `${x(epoch)},${y(mean)}`).join(" ") }, drawn("title", {}, named(arm))));
    if (points.length < 4) for (const [epoch, mean] of points) inside.append(drawn("circle", { cx: x(epoch), cy: y(mean), r: 3, fill: colour }));
  });
  svg.append(inside);
  const legend = best.map((arm, place) => element("li", {}, element("i", { style: `border-color: ${data.colours[place]}` }), named(arm)));
  fill("curves", element("h2", {}, say("curves")), element("p", { className: "note" }, say("curves note", best.length)),
    svg, element("ul", { className: "legend" }, ...legend));
};

// Scatter and parallel coordinates: on a canvas, which takes ten thousand of them in milliseconds
const LOW = [0, 34, 78], MIDDLE = [124, 123, 120], HIGH = [254, 232, 56]; // cividis, for eyes of every kind
const shade = share => {
  const [from, to, at] = share < 0.5 ? [LOW, MIDDLE, 2 * share] : [MIDDLE, HIGH, 2 * share - 1];
  return `rgb(${from.map((one, place) => Math.round(one + at * (to[place] - one)))})`;
};
const result = { name: label, number: true, of: arm => arms.mean[arm] };
const axis = key => ({ name: key.name, number: key.number, values: key.values, of: arm => key.number ? value(key, arm) : key.codes[arm] });
const axes = [...keys.filter(key => key.values.length > 1).map(axis), result];
// evenly over the orders of magnitude rather than over the numbers
const isLog = ({ number, values }) => number && values && values[0] > 0 && values.length > 2
  && values.at(-1) > 30 * values[0] && values.at(-1) > 4 * values[values.length >> 1];
const scale = (one, list, from, to) => {
  const log = isLog(one), bend = log ? Math.log10 : same => same;
  const numbers = one.number ? list.map(one.of).filter(number => number !== null) : [-0.5, one.values.length - 0.5];
  const [low, high] = range(one === result ? ends(numbers) : numbers).map(bend);
  const place = number => from + (to - from) * Math.min(1.02, Math.max(-0.02, (bend(number) - low) / (high - low || 1)));
  const marks = !one.number ? one.values.map((text, at) => [at, text]).slice(0, 30)
    : log ? ticks(Math.floor(low), Math.ceil(high), 6).filter(at => Number.isInteger(at) && at >= low - 0.02 && at <= high + 0.02).map(at => [10 ** at, String(+(10 ** at).toPrecision(6))])
      : ticks(low, high, 6).map(at => [at, String(at)]);
  return { place, marks };
};
// a few very bad results would press all others together
const ends = numbers => {
  const ascending = [...numbers].sort((a, b) => a - b), cut = Math.floor(0.05 * ascending.length);
  if (!ascending.length) return [];
  return measure.better < 0 ? [ascending[0], ascending[ascending.length - 1 - cut]] : [ascending[cut], ascending.at(-1)];
};
const shades = list => {
  const [low, high] = range(ends(list.map(result.of).filter(number => number !== null)));
  return arm => shade(Math.min(1, Math.max(0, (arms.mean[arm] - low) / (high - low))));
};
const canvas = (id, size) => {
  const made = element("canvas"), holder = element("div", { className: "plot" }, made);
  return { made, holder, start() {
    const width = holder.clientWidth || 800, ratio = devicePixelRatio || 1;
    made.width = width * ratio;
    made.height = size * ratio;
    made.style.height = `${size}px`;
    const pen = made.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = pen.strokeStyle = getComputedStyle(document.body).color;
    return [pen, width];
  } };
};
look = { x: 0, y: axes.length - 1, colour: axes.length - 1, ...look };
const pick = (name, at) => {
  const options = axes.map((one, place) => element("option", { value: place, selected: place === at }, one.name));
  const made = element("select", { name }, ...options);
  made.addEventListener("change", () => { look[name] = +made.value; keep(); });
  return element("label", {}, `${say(name)} `, made);
};
const write = (pen, text, x, y) => { // over lines it can be read as well
  pen.save();
  pen.strokeStyle = getComputedStyle(document.body).backgroundColor;
  pen.lineWidth = 3;
  pen.strokeText(text, x, y);
  pen.restore();
  pen.fillText(text, x, y);
};
const rule = () => getComputedStyle(document.body).getPropertyValue("--line");
const showScatter = list => {
  if (!data.search && (count <= BEST || axes.length < 2)) return fill("scatter");
  const dots = list.filter(arm => arms.mean[arm] !== null), { made, holder, start } = canvas("scatter", 360);
  fill("scatter", element("h2", {}, say("scatter")), element("p", { className: "note" }, say("scatter note")),
    element("p", {}, pick("x", look.x), " ", pick("y", look.y), " ", pick("colour", look.colour)), holder);
  const [pen, width] = start(), [left, right, top, bottom] = [70, 14, 10, 44];
  const across = scale(axes[look.x], dots, left, width - right), up = scale(axes[look.y], dots, 360 - bottom, top);
  pen.lineWidth = 1;
  pen.strokeStyle = rule();
  for (const [at, text] of up.marks) {
    pen.beginPath();
    pen.moveTo(left, up.place(at));
    pen.lineTo(width - right, up.place(at));
    pen.stroke();
    pen.textAlign = "right";
    pen.fillText(text.slice(0, 10), left - 6, up.place(at) + 4);
  }
  pen.textAlign = "center";
  for (const [at, text] of across.marks) pen.fillText(text.slice(0, 12), across.place(at), 360 - bottom + 18);
  pen.textAlign = "right";
  pen.fillText(axes[look.x].name, width - right, 356);
  pen.textAlign = "left";
  pen.fillText(axes[look.y].name, 4, 356);
  const colour = axes[look.colour] === result ? shades(dots) : axes[look.colour].number
    ? (() => { const of = scale(axes[look.colour], dots, 0, 1); return arm => shade(Math.min(1, Math.max(0, of.place(axes[look.colour].of(arm))))); })()
    : arm => data.colours[axes[look.colour].of(arm) % BEST];
  const radius = dots.length > 2000 ? 2 : dots.length > 200 ? 3 : 5;
  const jitter = (one, arm) => one.number ? 0 : 24 * ((arm * 0.618) % 1 - 0.5); // of words, beside each other
  const places = dots.map(arm => [across.place(axes[look.x].of(arm)) + jitter(axes[look.x], arm), up.place(axes[look.y].of(arm))]);
  pen.strokeStyle = getComputedStyle(document.body).color;
  pen.lineWidth = 0.5;
  places.forEach(([x, y], at) => {
    pen.fillStyle = colour(dots[at]);
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.fill();
    if (radius > 2) pen.stroke();
  });
  tip(holder, made, places, at => `${named(dots[at])}: ${shown(arms.mean[dots[at]])}${unit}${half(dots[at])}`);
};
const tip = (holder, made, places, text) => {
  const box = element("div", { className: "tip", hidden: true });
  holder.append(box);
  made.addEventListener("pointermove", event => {
    let nearest = -1, least = 144;
    places.forEach(([x, y], at) => {
      const distance = (x - event.offsetX) ** 2 + (y - event.offsetY) ** 2;
      if (distance < least) [nearest, least] = [at, distance];
    });
    box.hidden = nearest < 0;
    if (nearest < 0) return;
    box.textContent = text(nearest);
    const [x, y] = places[nearest];
    box.style.left = `${Math.min(x + 12, holder.clientWidth - box.offsetWidth)}px`;
    box.style.top = `${y + 12}px`;
  });
  made.addEventListener("pointerleave", () => { box.hidden = true; });
};
const showParallel = list => {
  if (axes.length < 3 || (!data.search && count <= BEST)) return fill("parallel");
  const lines = order(list).filter(arm => arms.mean[arm] !== null), size = 340, { holder, start } = canvas("parallel", size);
  lines.sort((a, b) => (measure.better || 1) * (arms.mean[a] - arms.mean[b]));
  fill("parallel", element("h2", {}, say("parallel")), element("p", { className: "note" }, say("parallel note")), holder);
  const [pen, width] = start(), [left, right, top, bottom] = [40, 70, 34, 12];
  const scales = axes.map(one => scale(one, lines, size - bottom, top));
  const x = place => left + (width - left - right) * place / (axes.length - 1), colour = shades(lines);
  pen.lineWidth = lines.length > 500 ? 0.6 : 1.4;
  pen.globalAlpha = lines.length > 500 ? 0.35 : 0.75;
  lines.forEach(arm => {
    pen.strokeStyle = colour(arm);
    pen.beginPath();
    axes.forEach((one, place) => pen.lineTo(x(place), scales[place].place(one.of(arm)) + (one.number ? 0 : 10 * ((arm * 0.618) % 1 - 0.5))));
    pen.stroke();
  });
  pen.globalAlpha = 1;
  pen.lineWidth = 1;
  pen.strokeStyle = getComputedStyle(document.body).color;
  axes.forEach((one, place) => {
    pen.beginPath();
    pen.moveTo(x(place), top);
    pen.lineTo(x(place), size - bottom);
    pen.stroke();
    pen.textAlign = place === 0 ? "left" : place === axes.length - 1 ? "right" : "center";
    const room = (width - left - right) / (axes.length - 1) / 7;
    pen.fillText(one.name.slice(0, Math.max(6, Math.floor(room))), place === 0 ? 4 : place === axes.length - 1 ? width - 2 : x(place), 14 + 14 * (place % 2 && width < 600));
    pen.textAlign = "left";
    for (const [at, text] of scales[place].marks) write(pen, text.slice(0, 9), x(place) + 4, scales[place].place(at) + 4);
  });
};

// Looks, and runs
const showLooks = () => {
  if (!data.looks.length) return;
  const rows = data.looks.map(one => element("tr", {}, cell(`${one.arm_a} − ${one.arm_b}`), cell(`${one.n}`, "number"), cell(one.estimate, "number"),
    cell(one.lower === "–" ? "–" : `${one.lower} ${say("to")} ${one.upper}`, "number"), cell(one.verdict)));
  const { metric, unit } = data.looks[0], title = `${say("estimate")} (${unit ? `${metric}, ${unit}` : metric})`;
  fill("looks", element("h2", {}, say("looks")), element("p", { className: "note" }, say("looks note")),
    table([head(say("pair")), head("n", "number"), head(title, "number"), head(say("interval"), "number"), head(say("verdict"))], rows));
};
const showRunning = passing => {
  const rows = data.running.filter(([arm]) => passing.has(arm));
  if (!rows.length) return fill("running");
  const total = data.counts.running > data.running.length ? [element("p", { className: "note" }, say("first", data.running.length, data.counts.running))] : [];
  fill("running", element("h2", {}, say("running now")), ...total,
    table([head(say("arm")), head(say("seed"), "number"), head(say("run")), head(say("last sign"), "number")],
      rows.map(([arm, seed, run, ago]) => element("tr", {}, cell(named(arm)), cell(seed, "number"), cell(run), cell(say("ago", duration(ago)), "number")))));
};
const showOtherwise = () => {
  const { runs, first } = data.otherwise;
  if (!runs) return fill("otherwise");
  const cut = runs > first.length ? [element("p", { className: "note" }, say("first", first.length, runs))] : [];
  fill("otherwise", element("h2", {}, say("otherwise")), element("p", { className: "note" }, say("otherwise note")), ...cut,
    element("ul", {}, ...first.map(told => element("li", {}, told))));
};
const showBad = passing => {
  const all = data.counts.failed + data.counts.diverged, rows = data.bad.rows.filter(([, arm]) => passing.has(arm));
  if (!rows.length) return fill("bad");
  const reasons = data.bad.reasons.filter(([, times]) => times > 1).map(([reason, times]) => element("li", {}, `${say("times", times)}: ${reason || "–"}`));
  const cut = all > data.bad.rows.length ? [element("p", { className: "note" }, say("first", data.bad.rows.length, all))] : [];
  const log = run => element("a", { href: encodeURI(`${data.bad.log}/${run}/train.log`) }, say("log"));
  fill("bad", element("h2", {}, say("bad")), element("ul", {}, ...reasons), ...cut,
    table([head(say("state")), head(say("arm")), head(say("seed"), "number"), head(say("reason")), head(say("run"))],
      rows.slice(0, visibleBad).map(([state, arm, seed, run, reason]) => element("tr", {}, cell(say(state)), cell(named(arm)), cell(seed, "number"),
        cell(reason || "–", "reason"), element("td", {}, `${run} `, log(run))))),
    more(rows.length - visibleBad, () => { visibleBad += 10 * STEP; }));
};

const draw = () => {
  const list = [...Array(count).keys()].filter(passes), passing = new Set(list);
  showArms(list);
  showCurves(list);
  showScatter(list);
  showParallel(list);
  showRunning(passing);
  showBad(passing);
};
status();
filters();
showOtherwise();
showLooks();
draw();
let waiting;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 150); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
// not while somebody types, chooses or marks
const busy = () => document.activeElement?.closest("form, select, input") || String(getSelection()) || document.hidden;
if (data.state !== "ended") setInterval(() => busy() || location.reload(), 1000 * data.every);
