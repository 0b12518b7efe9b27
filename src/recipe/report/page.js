// The page around the curves. Strings of a run are only ever set as text (add), never as HTML.
function add(parent, tag, text, name) {
  const element = document.createElement(tag);
  if (text != null) element.textContent = text;
  if (name) element.className = name;
  if (parent) parent.append(element);
  return element;
}

function table(parent, heads, rows, left = [0]) {
  const body = add(add(parent, "div", null, "scroll card"), "table");
  const head = add(add(body, "thead"), "tr");
  heads.forEach((text, i) => add(head, "th", text, left.includes(i) ? "left" : ""));
  const rest = add(body, "tbody");
  for (const row of rows) {
    const line = add(rest, "tr");
    row.forEach((text, i) => add(line, "td", text, left.includes(i) ? "left" : ""));
  }
}

const fixed = (value, digits) => (typeof value === "number" ? value.toFixed(digits) : "–");
const percent = (value) => (typeof value === "number" ? (100 * value).toFixed(1) + " %" : "–");
function duration(seconds) {
  if (typeof seconds !== "number") return "–";
  const s = Math.round(seconds);
  if (seconds < 60) return short(seconds) + " s";
  return s < 3600 ? Math.floor(s / 60) + " min " + (s % 60) + " s" : Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
}
const spent = (tokens) => Object.entries(tokens || {}).map(([what, count]) => short(count) + " " + label(what)).join(", ") || "–";
const pass = (arm, k) => arm.pass_at.find((p) => p.k === k)?.value;

function header(page, data) {
  add(page, "h1", data.name);
  const list = add(page, "ul", null, "facts");
  for (const fact of [...data.facts, { name: "Last written", value: data.written }]) {
    const item = add(list, "li", fact.name + " ");
    add(item, "b", fact.value, fact.value.length > 40 ? "mono" : "");
  }
}

function tiles(page, data) {
  const box = add(page, "div", null, "tiles");
  const tile = (value, text) => {
    const card = add(box, "div", null, "tile");
    add(card, "div", value, "value");
    add(card, "div", text, "label");
  };
  for (const change of data.changes) {
    const [before, after] = [change.before, change.after].map((name) => data.evaluations.find((arm) => arm.name === name));
    tile(fixed(pass(before, "1"), 3) + " → " + fixed(pass(after, "1"), 3), "pass@1 on " + (change.task || "held-out problems") + ", " + change.before + " → " + change.after);
    if (before.mean_thinking > 0 && after.mean_thinking > 0) {
      tile(fixed(before.mean_thinking, 1) + " → " + fixed(after.mean_thinking, 1), "thinking tokens of correct answers, the same two");
    }
  }
  const compared = data.training.filter((stage) => typeof stage.sampler_trainer === "number");
  if (compared.length) {
    const largest = Math.max(...compared.map((stage) => stage.sampler_trainer));
    const steps = compared.reduce((sum, stage) => sum + stage.rows, 0);
    tile(largest === 0 ? "exactly 0" : short(largest), "largest difference of a log-prob, sampler against trainer, " + short(steps) + " steps");
  }
  const wall = data.training.reduce((sum, stage) => sum + (stage.wall_s || 0), 0);
  const tokens = data.training.reduce((sum, stage) => sum + (stage.tokens || 0), 0);
  if (wall > 0) tile(duration(wall), "training, " + short(tokens) + " tokens");
  if (!box.children.length) box.remove();
}

function forest(parent, arms) {
  const box = add(parent, "div", null, "forest card");
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  for (const arm of arms) {
    const value = pass(arm, "1");
    add(box, "div", arm.name, "name");
    const track = add(box, "div", null, "track");
    for (const tick of ticks) add(track, "i").style.left = 100 * tick + "%";
    if (typeof arm.low === "number" && typeof arm.high === "number") {
      const whisker = add(track, "div", null, "whisker");
      whisker.style.left = 100 * arm.low + "%";
      whisker.style.width = 100 * (arm.high - arm.low) + "%";
    }
    add(track, "div", null, "dot").style.left = 100 * value + "%";
    add(box, "div", fixed(value, 3), "mono");
  }
  add(box, "div", null, "blank");
  const axis = add(box, "div", null, "axis");
  for (const tick of ticks) add(axis, "span", String(tick)).style.left = 100 * tick + "%";
  add(box, "div", null, "blank");
}

function evaluations(page, data) {
  add(page, "h2", "Evaluations");
  if (!data.evaluations.length) return add(page, "p", "This run holds no evaluation.", "muted");
  add(page, "p", "pass@1 with its 95 % interval, clustered by problem. Two evaluations compare only where task, problems and samples are the same.", "muted");
  const tasks = [...new Set(data.evaluations.map((arm) => arm.task))];
  for (const task of tasks) {
    const arms = data.evaluations.filter((arm) => arm.task === task);
    add(page, "h3", task || "Task not named");
    forest(page, arms);
    const ks = [...new Set(arms.flatMap((arm) => arm.pass_at.map((p) => p.k)))].filter((k) => k !== "1").sort((a, b) => a - b);
    const trained = arms.some((arm) => arm.spent);
    const heads = ["stage", "pass@1", "95 % interval", ...ks.map((k) => "pass@" + k), "mean length", "thinking, correct", "truncated",
      "well formed", "tokens sampled", ...(trained ? ["tokens spent by its stage"] : []), "problems × samples", "model"];
    const row = (arm) => [
      arm.name, fixed(pass(arm, "1"), 3), fixed(arm.low, 3) + " – " + fixed(arm.high, 3), ...ks.map((k) => fixed(pass(arm, k), 3)),
      fixed(arm.mean_length, 1), fixed(arm.mean_thinking, 1), percent(arm.truncated), percent(arm.well_formed), short(arm.tokens),
      ...(trained ? [spent(arm.spent)] : []), short(arm.problems) + " × " + short(arm.samples), arm.model,
    ];
    table(page, heads, arms.map(row), [0, heads.indexOf("tokens spent by its stage"), heads.length - 1]);
  }
}

function changes(page, data) {
  if (!data.changes.length) return;
  add(page, "h2", "The same problem, before and after");
  for (const change of data.changes) {
    if (data.changes.length > 1) add(page, "h3", change.task + ": " + change.before + " → " + change.after);
    const all = change.turned_right + change.turned_wrong + change.stayed_right + change.stayed_wrong;
    add(page, "p", `First samples of ${short(all)} problems, ${change.before} → ${change.after}: ${short(change.turned_right)} turned right, ` +
      `${short(change.turned_wrong)} turned wrong, ${short(change.stayed_right)} stayed right, ${short(change.stayed_wrong)} stayed wrong.`, "muted");
    for (const example of change.examples) {
      const card = add(page, "div", null, "example card");
      add(card, "b", example.question);
      const pair = add(card, "div", null, "pair");
      for (const [name, side] of [[change.before, example.before], [change.after, example.after]]) {
        const box = add(pair, "div");
        const who = add(box, "div", name + ": ", "who");
        add(who, "span", side.correct ? "right" : "wrong" + (side.why ? " (" + side.why.replaceAll("_", " ") + ")" : ""), side.correct ? "good" : "bad");
        who.append(", " + short(side.tokens) + " tokens");
        if (side.thought) add(box, "pre", side.thought, "thought");
        add(box, "pre", side.answer || "(no answer)", "answer");
      }
    }
  }
}

function training(page, data) {
  for (const stage of data.training) {
    add(page, "h2", "Training: " + stage.name + (stage.kind ? " (" + stage.kind + ")" : ""));
    if (!stage.rows) {
      add(page, "p", "No step has been written yet.", "muted");
      continue;
    }
    const last = stage.ends.step?.[1];
    add(page, "p", `${typeof last === "number" ? "Step " + short(last) : short(stage.rows) + " rows"}${stage.finished ? ", finished" : ", not finished"}; ` +
      `tokens: ${spent(stage.spent)}; ${duration(stage.wall_s)}.` + (stage.every > 1 ? ` Of ${short(stage.rows)} rows every ${stage.every}th is drawn.` : ""), "muted");
    if (typeof stage.sampler_trainer === "number") {
      add(page, "p", stage.sampler_trainer === 0
        ? `Sampler against trainer: sampler_trainer_max_abs is exactly 0 in all ${short(stage.rows)} rows: no log-prob differs in any bit.`
        : `Sampler against trainer: sampler_trainer_max_abs reaches ${short(stage.sampler_trainer)}.`, stage.sampler_trainer === 0 ? "good" : "bad");
    }
    const zero = drawStage(page, stage);
    if (zero.length) add(page, "p", "0 in every row, and not drawn: " + zero.map(label).join(", ") + ".", "muted");
    if (stage.phases?.length) {
      add(page, "h3", "Where a step's time goes");
      table(page, ["phase", "median, s", "share"], stage.phases.map((p) => [p.name === "step_s" ? "whole step" : label(p.name.replace(/_s$/, "")),
        p.median === null ? "–" : short(p.median), percent(p.share)]));
    }
  }
}

function models(page, data) {
  if (!data.models.length) return;
  add(page, "h2", "Models");
  table(page, ["model", "architecture", "parameters", "layers", "width", "experts", "vocabulary", "context"],
    data.models.map((m) => [m.name, m.architecture, ...["parameters", "layers", "width", "experts", "vocabulary", "context"].map((key) => short(m[key]))]), [0, 1]);
}

function repeat(page, data) {
  add(page, "h2", "How to repeat it");
  add(page, "pre", data.repeat.commands.join("\n"), "example card");
  for (const file of data.repeat.files) {
    const box = add(page, "details", null, "card");
    add(box, "summary", file.name + (file.note ? " (" + file.note + ")" : ""));
    add(box, "pre", file.text);
  }
  if (!data.missing.length) return;
  add(page, "h2", "Left out");
  const list = add(page, "ul", null, "missing");
  for (const sentence of data.missing) add(list, "li", sentence);
}

const data = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page");
for (const part of [header, tiles, evaluations, changes, training, models, repeat]) part(page, data);
