// The curves of a training stage. A stage's columns decide what is drawn: fields that are known are grouped below, every
// other number of metrics.jsonl gets a chart of its own under its own name.
"use strict";

const GROUPS = [
  { title: "Accuracy and reward", keys: ["accuracy", "reward"], floor: 0 },
  { title: "Loss", keys: ["loss"] },
  { title: "Answer length, tokens", keys: ["length", "thinking_correct"], floor: 0 },
  { title: "Entropy, nats", keys: ["entropy"], floor: 0 },
  { title: "KL to the reference", keys: ["kl"] },
  { title: "Clip fraction", keys: ["clip_fraction"], floor: 0 },
  { title: "Gradient norm", keys: ["grad_norm"], floor: 0 },
  { title: "Learning rate", keys: ["lr"], floor: 0 },
  { title: "Tokens a second", keys: ["tokens_per_s"], floor: 0 },
  { title: "Shares: well formed, truncated, groups without signal", keys: ["format", "truncated", "groups_without_signal"], floor: 0 },
];
const LABELS = { thinking_correct: "thinking, correct answers", groups_without_signal: "without signal", format: "well formed" };
// Shown elsewhere on the page, or not a curve.
const APART = ["step", "wall_s", "tokens", "sampled_tokens", "step_s", "sampler_trainer_kl", "sampler_trainer_max_abs"];

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

function settings(stage, keys, { floor, stacked }) {
  const columns = stage.columns;
  const steps = columns.step || columns[keys[0]].map((_, i) => i + 1);
  const text = colour("muted");
  const axis = { grid: { color: colour("grid"), drawBorder: false }, ticks: { color: text, maxRotation: 0, callback: short } };
  return {
    type: "line",
    data: {
      datasets: keys.map((key, i) => ({
        label: label(stacked ? key.slice(0, -2) : key),
        data: columns[key].map((y, at) => ({ x: steps[at], y })),
        borderColor: series(i),
        backgroundColor: series(i) + (stacked ? "b0" : ""),
        fill: stacked ? (i === 0 ? "origin" : "-1") : false,
        borderWidth: stacked ? 0 : 1.6,
        pointRadius: steps.length === 1 ? 3 : 0,
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
        legend: { display: keys.length > 1, position: "bottom", labels: { color: text, boxWidth: 14, boxHeight: stacked ? 10 : 1 } },
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

// A figure: its title, from where to where it went, and the plot.
function figure(stage, title, keys, options) {
  const went = keys.length === 1 && stage.ends[keys[0]];
  const canvas = add(null, "canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", title + " by step");
  const box = add(null, "figure");
  const caption = add(box, "figcaption", title);
  if (went) add(caption, "span", short(went[0]) + " → " + short(went[1]));
  add(box, "div", null, "plot").append(canvas);
  return { box, start: () => draw(canvas, () => settings(stage, keys, options)) };
}

// All charts of a stage into `parent`; returns the names of the columns that are drawn nowhere because they are 0 throughout.
function drawStage(parent, stage) {
  const has = (key) => key in stage.ends;
  const zero = stage.zero.filter((key) => !isPhase(key) && key !== "sampler_trainer_max_abs");
  const figures = [];
  const done = new Set(APART);
  for (const group of GROUPS) {
    group.keys.forEach((key) => done.add(key));
    let keys = group.keys.filter((key) => has(key) && !zero.includes(key));
    let title = group.title;
    const [accuracy, reward] = [stage.columns.accuracy, stage.columns.reward];
    if (keys.length === 2 && keys[0] === "accuracy" && accuracy.every((y, i) => y === reward[i])) {
      keys = ["accuracy"];
      title = "Accuracy (= reward)";
    }
    if (keys.length === 1 && group.keys.length > 1 && title === group.title) title = label(keys[0]);
    if (keys.length) figures.push(figure(stage, title, keys, group));
  }
  const phases = Object.keys(stage.columns).filter((key) => isPhase(key) && has(key));
  phases.forEach((key) => done.add(key));
  if (phases.length) figures.push(figure(stage, "Time of a step by phase, s", phases, { stacked: true, floor: 0 }));
  if (stage.sampler_trainer > 0) {
    figures.push(figure(stage, "Sampler against trainer, largest difference", ["sampler_trainer_max_abs"], { floor: 0 }));
  }
  for (const key of Object.keys(stage.columns)) {
    if (!done.has(key) && has(key) && !zero.includes(key)) figures.push(figure(stage, label(key), [key], {}));
  }
  const grid = add(parent, "div", null, "charts");
  for (const { box, start } of figures) {
    grid.append(box);
    start();
  }
  return zero;
}
