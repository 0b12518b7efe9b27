// The Runs view: the list of training runs, and one run with its curves and rollouts. It asks again every few seconds
// while it is visible.
import { el, button, byId, announce } from "./dom.js";
import { getJson } from "./api.js";
import { openSettings } from "./settings.js";
import { chart, numberText } from "./chart.js";
import { RolloutList } from "./rollouts.js";

const kAskEvery = 3000;        // ms
const kSilentAfter = 300;      // seconds without a new row, after which a run no longer counts as training

let shown = null;  // the id of the run that is open; "": the list; null: another view
let timer = 0;
let drawn = "";    // what is on the page, so that the same is not drawn again
let parts = null;  // of the run that is open

export function leaveRuns() {
  shown = null;
  clearTimeout(timer);
}

export async function showRuns(id) {
  shown = id;
  drawn = "";
  parts = null;
  byId("runs-title").textContent = id ? "Training run" : "Training runs";
  byId("runs-content").replaceChildren(el("p", { class: "muted" }, "Reading …"));
  await refresh();
}

async function refresh() {
  clearTimeout(timer);
  const id = shown;
  if (id === null) return;
  if (!document.hidden) {
    try {
      const data = await getJson(id ? `/runs/metrics?run=${encodeURIComponent(id)}` : "/runs");
      if (shown !== id) return;
      const text = JSON.stringify(data);
      if (text !== drawn) {
        if (id) drawRun(data);
        else drawList(data);
        drawn = text;
      }
      byId("runs-error")?.remove();
      showAges();
    } catch (error) {
      if (shown !== id) return;
      showError(error);
    }
  }
  clearTimeout(timer);
  timer = setTimeout(refresh, kAskEvery);
}

function showError(error) {
  const content = byId("runs-content");
  if (byId("runs-error")?.dataset.message === error.message) return;
  if (!drawn) {
    parts = null;
    content.replaceChildren();
  }
  byId("runs-error")?.remove();
  const note = el("p", { id: "runs-error", class: "notice bad", "data-message": error.message }, error.message);
  if (error.kind === "key") note.append(" ", button("Open the settings", () => openSettings("key")));
  content.prepend(note);
  announce(error.message);
}

const runLink = (id) => `#runs/${id.split("/").map(encodeURIComponent).join("/")}`;

function ageText(updated) {
  const seconds = Math.max(0, Math.round(Date.now() / 1000 - updated));
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

// The times since the last rows grow without new data.
function showAges() {
  for (const place of document.querySelectorAll("[data-updated]")) place.textContent = ageText(Number(place.dataset.updated));
  for (const place of document.querySelectorAll("[data-state]")) {
    const isSilent = Date.now() / 1000 - Number(place.dataset.state) > kSilentAfter;
    place.textContent = isSilent ? "no new row" : "training";
    place.classList.toggle("live", !isSilent);
  }
}

const ageNode = (run) => el("time", { "data-updated": run.updated, datetime: new Date(run.updated * 1000).toISOString() });

function stateNode(run) {
  if (run.finished) return el("span", { class: "state done" }, "finished");
  if (run.kind === "recipe") return el("span", { class: "state" }, "recipe");
  return el("span", { class: "state", "data-state": run.updated });
}

function progressNode(run) {
  if (run.step === undefined) return "–";
  if (!run.steps) return `step ${run.step}`;
  return el("span", { class: "progress" },
    el("progress", { max: run.steps, value: run.step, "aria-label": `Progress of ${run.name}` }),
    ` ${run.step} of ${run.steps}`);
}

const kListed = ["reward", "accuracy", "length", "loss"];

function drawList({ runs, directories, missing }) {
  const content = byId("runs-content");
  if (directories.length === 0) {
    content.replaceChildren(
      el("p", {}, "This server shows no training runs. Start it with the folder that holds them:"),
      el("pre", { tabindex: 0, "aria-label": "Command" }, "r1 serve --runs runs"));
    return;
  }
  const notes = missing.map((sentence) => el("p", { class: "notice" }, sentence));
  if (runs.length === 0) {
    content.replaceChildren(...notes, el("p", {}, `There is no run in ${directories.join(", ")} yet. This page looks again every few seconds.`));
    return;
  }
  const focused = document.activeElement?.closest?.("a")?.hash;
  content.replaceChildren(...notes, el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Runs" },
    el("table", { class: "list" },
      el("thead", {}, el("tr", {}, ...["Run", "Kind", "State", "Progress", ...kListed, "Last row"].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...runs.map((run) => el("tr", {},
        el("th", { scope: "row" }, el("a", { href: runLink(run.id) }, run.name)),
        el("td", { class: "text" }, run.kind), el("td", { class: "text" }, stateNode(run)), el("td", { class: "text" }, progressNode(run)),
        ...kListed.map((name) => el("td", {}, numberText(run.last[name]))),
        el("td", {}, ageNode(run))))))));
  if (focused) [...content.querySelectorAll("a")].find((a) => a.hash === focused)?.focus();
}

// Explanations of the curves that their names do not explain.
const kNotes = {
  reward: "Mean over the step's answers.",
  accuracy: "Share of right answers.",
  length: "Mean tokens of an answer.",
  kl: "Distance from the reference model.",
  entropy: "Nats per token. Near 0, all answers of a group are the same.",
  clip_fraction: "Share of tokens whose ratio was clipped.",
  truncated: "Share of answers cut off at their limit.",
  groups_without_signal: "Share of groups whose rewards are all equal; they teach nothing.",
  sampler_trainer_max_abs: "Difference of log-probs between sampling and training; 0 means equal to the bit.",
  thinking_correct: "Mean tokens of the thoughts of right answers.",
};
const kFirst = ["reward", "accuracy", "length", "kl", "entropy", "truncated", "loss", "validation_loss", "format",
                "groups_without_signal", "clip_fraction", "grad_norm", "lr", "tokens_per_s"];
const kNeverDrawn = new Set(["step", "wall_s"]);

// Puts children into a part of the page. What was open stays open, and the focus stays.
function replaceKeeping(part, ...children) {
  const keyOf = (node) => node?.closest?.("details")?.dataset.key;
  const open = new Set([...part.querySelectorAll("details[open]")].map(keyOf));
  const focused = part.contains(document.activeElement) ? keyOf(document.activeElement) : undefined;
  part.replaceChildren(...children);
  for (const details of part.querySelectorAll("details")) {
    if (open.has(keyOf(details))) details.open = true;
    if (focused && keyOf(details) === focused) details.querySelector("summary").focus();
  }
}

function drawRun(run) {
  if (!parts) {
    parts = { head: el("div"), curves: el("div"), settings: el("div"), rollouts: new RolloutList(run.id) };
    byId("runs-title").textContent = run.name;
    byId("runs-content").replaceChildren(el("p", {}, el("a", { href: "#runs" }, "← All runs")),
      parts.head, parts.curves, parts.rollouts.element, parts.settings);
  }
  const evaluation = Object.entries(run.evaluation), settings = Object.entries(run.settings);
  replaceKeeping(parts.head,
    el("dl", { class: "facts" }, ...factsOf(run)),
    ...(run.warnings ?? []).map((sentence) => el("p", { class: "notice bad" }, sentence)),
    ...(run.missing ?? []).map((sentence) => el("p", { class: "notice" }, sentence)),
    ...(evaluation.length > 0 ? [section("Evaluation", el("dl", { class: "facts" }, ...evaluation.flatMap(fact)))] : []));
  // A person who reads a table of figures is left in peace.
  if (!parts.curves.querySelector(".figures[open] .scroll:is(:hover, :focus)"))
    replaceKeeping(parts.curves, ...(run.curves?.columns ? [curvesOf(run.curves)] : []));
  parts.rollouts.filesAre(run.files);
  replaceKeeping(parts.settings, ...(settings.length > 0
    ? [el("details", { "data-key": "settings" }, el("summary", {}, "Settings"), el("dl", { class: "facts" }, ...settings.flatMap(fact)))]
    : []));
}

const section = (title, ...children) => el("section", {}, el("h2", {}, title), ...children);
const fact = ([name, value]) => [el("div", {}, el("dt", {}, name), el("dd", {}, typeof value === "number" ? numberText(value) : String(value)))];

function factsOf(run) {
  const facts = [["Kind", run.kind], ["State", stateNode(run)]];
  if (run.step !== undefined) facts.push(["Progress", progressNode(run)]);
  const left = secondsLeft(run);
  if (left !== null) facts.push(["Left", `about ${left < 90 ? `${Math.ceil(left)} s` : left < 5400 ? `${Math.round(left / 60)} min` : `${(left / 3600).toFixed(1)} h`}`]);
  facts.push(["Last row", ageNode(run)]);
  if (run.numerics) facts.push(["Numerics", run.numerics]);
  if (run.last.tokens !== undefined) facts.push(["Tokens", run.last.tokens.toLocaleString("en")]);
  return facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
}

// At the speed of the whole run so far.
function secondsLeft(run) {
  if (run.finished || !run.steps || !run.step || !run.last.wall_s || run.step >= run.steps) return null;
  return ((run.steps - run.step) * run.last.wall_s) / run.step;
}

// One chart per column, a chart per evaluation with its interval, and the times of a step by themselves.
function curvesOf({ columns, zero, every }) {
  const count = Math.max(...Object.values(columns).map((values) => values.length));
  const xs = columns.step ?? Array.from({ length: count }, (_, i) => i * every + 1);
  const xName = columns.step ? "step" : "row";
  const rank = (name) => (kFirst.includes(name) ? kFirst.indexOf(name) : name.startsWith("eval.") ? 1.5 : kFirst.length);
  const isInterval = (name) => /\.(low|high)$/.test(name) && columns[name.replace(/\.(low|high)$/, ".pass_at_1")];
  const isTime = (name) => name.endsWith("_s") && !name.endsWith("_per_s");
  const names = Object.keys(columns).filter((name) => !kNeverDrawn.has(name) && !isInterval(name) && !zero.includes(name))
    .sort((a, b) => rank(a) - rank(b));
  const draw = (name) => {
    const stem = name.replace(/\.pass_at_1$/, "");
    const isEvaluation = name.endsWith(".pass_at_1") && columns[`${stem}.low`];
    return chart({
      title: name, note: isEvaluation ? "pass@1 of held-out problems, with its 95 % interval." : kNotes[name], xs, xName,
      series: [{ name, values: columns[name] },
        ...(isEvaluation ? ["low", "high"].map((end) => ({ name: `${stem}.${end}`, values: columns[`${stem}.${end}`] })) : [])],
    });
  };
  const times = names.filter(isTime);
  return section("Curves",
    el("div", { class: "charts" }, ...names.filter((name) => !isTime(name)).map(draw)),
    zero.length > 0 ? el("p", { class: "muted small" }, `0 in every row: ${zero.join(", ")}.`) : null,
    times.length > 0 ? el("details", { "data-key": "times" }, el("summary", {}, "Times of a step, in seconds"),
      el("div", { class: "charts" }, ...times.map(draw))) : null);
}
