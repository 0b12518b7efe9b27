// The curves of a training stage. A stage's columns decide what is drawn: fields that are known are grouped below, every
// other number of metrics.jsonl gets a chart of its own under its own name.
"use strict";

const GROUPS = [
  { title: "Answers that are right, and that are cut off", keys: ["accuracy", "truncated"], floor: 0,
    note: "Shares of the step's answers. One that reaches the limit of tokens is cut off and counts as wrong." },
  { title: "Reward", keys: ["reward"], floor: 0, note: "Mean over the step's answers." },
  { title: "Answer length, tokens", keys: ["length", "thinking_correct"], floor: 0,
    note: "Of all answers, and of the thoughts of right ones." },
  { title: "Well formed, and groups without signal", keys: ["format", "groups_without_signal"], floor: 0,
    note: "Well formed: a thought, then an answer, each between its tags. Without signal: all answers of a group earned the same." },
  { title: "Entropy, nats", keys: ["entropy"], floor: 0, note: "How undecided the model is at each token. Near 0 it writes the same every time." },
  { title: "KL to the reference", keys: ["kl"], note: "How far the model has moved away from its reference." },
  { title: "Clip fraction", keys: ["clip_fraction"], floor: 0, note: "Share of tokens that were held back because their probability had already moved far enough." },
  { title: "Gradient norm", keys: ["grad_norm"], floor: 0, note: "How large a change the step asked for." },
  { title: "Learning rate", keys: ["lr"], floor: 0 },
  { title: "Tokens per second", keys: ["tokens_per_s"], floor: 0 },
  { title: "Loss", keys: ["loss"], last: true },
];
const LABELS = { accuracy: "right", truncated: "cut off", thinking_correct: "thoughts of right answers", length: "answers",
  groups_without_signal: "without signal", format: "well formed" };
// Titles of the charts that compare stages.
const TOGETHER = { accuracy: "Answers that are right", truncated: "Answers that are cut off", length: "Answer length, tokens",
  thinking_correct: "Thoughts of right answers, tokens", format: "Answers that are well formed", groups_without_signal: "Groups without signal" };
// Shown elsewhere on the page, or not a curve.
const APART = ["step", "problems", "wall_s", "tokens", "sampled_tokens", "step_s", "sampler_trainer_kl", "sampler_trainer_max_abs"];

const isPhase = (key) => key.endsWith("_s") && !key.endsWith("_per_s") && key !== "wall_s" && key !== "step_s";
const label = (key) => LABELS[key] || key.replaceAll("_", " ");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const series = (i) => colour("series-" + (1 + (i % 6)));

// Three significant digits, or as many as a whole number has.
function short(value) {
  if (typeof value !== "number") return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e6) return value.toExponential(1).replace("e+", "e").replace(".0e", "e");
  return size >= 1000 ? Math.round(value).toLocaleString("en-US") : String(+value.toPrecision(3));
}

// Charts are drawn again when the system goes dark or light, because a canvas knows no CSS variables.
const drawn = [];
function draw(canvas, settings) {
  const make = () => new Chart(canvas, settings());
  const entry = { make, chart: make() };
  drawn.push(entry);
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const entry of drawn) {
    entry.chart.destroy();
    entry.chart = entry.make();
  }
});

// The curve of one column of a stage.
function curve(stage, key, name) {
  const steps = stage.columns.step || stage.columns[key].map((_, i) => i + 1);
  // A figure that only some steps have (an evaluation) is drawn through them.
  return { name, points: stage.columns[key].map((y, at) => ({ x: steps[at], y })).filter(({ y }) => y !== null) };
}

function settings(curves, { floor, stacked }) {
  const text = colour("muted");
  const axis = { grid: { color: colour("grid"), drawBorder: false }, ticks: { color: text, maxRotation: 0, callback: short } };
  return {
    type: "line",
    data: {
      datasets: curves.map(({ name, points }, i) => ({
        label: name,
        data: points,
        borderColor: series(i),
        backgroundColor: series(i) + (stacked ? "b0" : ""),
        fill: stacked ? (i === 0 ? "origin" : "-1") : false,
        borderWidth: stacked ? 0 : 1.6,
        pointRadius: points.length === 1 ? 3 : 0,
        pointHitRadius: 8,
      })),
    },
    options: {
      animation: false,
      maintainAspectRatio: false,
      spanGaps: true,
      interaction: { mode: "nearest", axis: "x", intersect: false },
      scales: {
        x: { ...axis, type: "linear", grid: { display: false }, ticks: { ...axis.ticks, maxTicksLimit: 7 } },
        y: { ...axis, suggestedMin: floor, stacked: Boolean(stacked), ticks: { ...axis.ticks, maxTicksLimit: 6 } },
      },
      plugins: {
        legend: { display: curves.length > 1, position: "bottom", labels: { color: text, boxWidth: 14, boxHeight: stacked ? 10 : 1 } },
        tooltip: {
          callbacks: {
            title: (items) => "step " + short(items[0].parsed.x),
            label: (item) => item.dataset.label + ": " + short(item.parsed.y),
          },
        },
      },
    },
  };
}

// A figure: its title, what it is, from where to where it went, and the plot.
function figure(title, curves, options, went) {
  const canvas = add(null, "canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", title + " by step");
  const box = add(null, "figure");
  const caption = add(box, "figcaption", title);
  if (went) add(caption, "span", short(went[0]) + " → " + short(went[1]));
  if (options.note) add(box, "p", options.note, "note");
  add(box, "div", null, "plot").append(canvas);
  return { box, start: () => draw(canvas, () => settings(curves, options)) };
}

// Figures into a grid; a chart needs its place on the page before it is drawn.
function show(parent, figures) {
  const grid = add(parent, "div", null, "charts");
  for (const { box, start } of figures) {
    grid.append(box);
    start();
  }
}

// All charts of a stage into `parent`; returns the names of the columns that are drawn nowhere because they are 0 throughout.
function drawStage(parent, stage) {
  const has = (key) => key in stage.ends;
  const zero = stage.zero.filter((key) => !isPhase(key) && key !== "sampler_trainer_max_abs");
  const [figures, last] = [[], []];
  const done = new Set(APART);
  const plotted = (title, keys, options, name = label) =>
    figure(title, keys.map((key) => curve(stage, key, name(key))), options, keys.length === 1 && stage.ends[keys[0]]);
  const [accuracy, reward] = [stage.columns.accuracy, stage.columns.reward];
  const isReward = accuracy && reward && accuracy.every((y, i) => y === reward[i]);
  for (const group of GROUPS) {
    group.keys.forEach((key) => done.add(key));
    const keys = group.keys.filter((key) => has(key) && !zero.includes(key));
    if (!keys.length || (isReward && keys[0] === "reward")) continue;
    let title = keys.length === 1 && group.keys.length > 1 ? label(keys[0]) : group.title;
    if (isReward && keys[0] === "accuracy") title += " (right = reward)";
    (group.last ? last : figures).push(plotted(title, keys, group));
  }
  const phases = Object.keys(stage.columns).filter((key) => isPhase(key) && has(key));
  phases.forEach((key) => done.add(key));
  if (phases.length) last.push(plotted("Time of a step by phase, s", phases, { stacked: true, floor: 0 }, (key) => label(key.slice(0, -2))));
  if (stage.sampler_trainer > 0) {
    last.push(plotted("Sampler against trainer, largest difference", ["sampler_trainer_max_abs"], { floor: 0 }));
  }
  for (const key of Object.keys(stage.columns)) {
    if (!done.has(key) && has(key) && !zero.includes(key)) figures.push(plotted(label(key), [key], {}));
  }
  show(parent, stage.columns.accuracy ? [...figures, ...last] : [...last.slice(0, 1), ...figures, ...last.slice(1)]);
  return zero;
}

// The same column of several stages in one chart each.
function drawTogether(parent, stages) {
  const figures = [];
  const isAccuracy = ({ stage }) => stage.columns?.accuracy?.every((y, i) => y === stage.columns.reward?.[i]);
  for (const group of GROUPS) {
    for (const key of group.keys) {
      if (key === "reward" && stages.every(isAccuracy)) continue;
      const with_key = stages.filter(({ stage }) => stage.rows && key in stage.ends && !stage.zero.includes(key));
      if (with_key.length < 2 || ["lr", "grad_norm", "tokens_per_s"].includes(key)) continue;
      figures.push(figure(TOGETHER[key] || group.title,
        with_key.map(({ name, stage }) => curve(stage, key, name)), { ...group, note: null }));
    }
  }
  if (figures.length) show(parent, figures);
}
