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
const pass = (arm, k) => arm?.pass_at.find((p) => p.k === k)?.value;
const armOf = (run, name) => run.evaluations.find((arm) => arm.name === name);
const titled = (c) => (c.kind && c.kind !== c.stage ? `${c.stage} (${c.kind})` : c.stage);
const isFile = (task) => /[/.]/.test(task || "");

function facts(parent, run) {
  const list = add(parent, "ul", null, "facts");
  for (const fact of [...run.facts, { name: "Last written", value: run.written }]) {
    const item = add(list, "li", fact.name + " ");
    add(item, "b", fact.value, fact.value.length > 40 ? "mono" : "");
  }
}

function tiles(page, run) {
  const box = add(page, "div", null, "tiles");
  const tile = (value, text) => {
    const card = add(box, "div", null, "tile");
    add(card, "div", value, "value");
    add(card, "div", text, "label");
  };
  for (const c of run.comparisons) {
    const [before, after] = [armOf(run, c.before), armOf(run, c.after)];
    const figures = fixed(pass(before, "1"), 3) + " → " + fixed(pass(after, "1"), 3);
    if (c.what === "training") {
      tile(figures, `pass@1 on ${c.task || "held-out problems"} by ${titled(c)}: ${c.before} → ${c.after}`);
      if (before.mean_thinking > 0 && after.mean_thinking > 0 && ["grpo", "ppo"].includes(c.kind))
        tile(fixed(before.mean_thinking, 1) + " → " + fixed(after.mean_thinking, 1), "tokens of thought in right answers, the same two");
    } else if (c.what === "teacher") {
      tile(fixed(pass(after, "1"), 3) + " of " + fixed(pass(before, "1"), 3), `pass@1 of the student (${c.after}) and of its teacher (${c.before})`);
    }
  }
  const compared = run.training.filter((stage) => typeof stage.sampler_trainer === "number");
  if (compared.length) {
    const largest = Math.max(...compared.map((stage) => stage.sampler_trainer));
    const steps = compared.reduce((sum, stage) => sum + stage.rows, 0);
    tile(largest === 0 ? "exactly 0" : short(largest), "largest difference of a log-prob, sampler against trainer, " + short(steps) + " steps");
  }
  const wall = run.training.reduce((sum, stage) => sum + (stage.wall_s || 0), 0);
  const tokens = run.training.reduce((sum, stage) => sum + (stage.tokens || 0), 0);
  if (wall > 0) tile(duration(wall), "training, " + short(tokens) + " tokens");
  if (!box.children.length) box.remove();
}

// pass@1 of every arm on one axis from 0 to 1.
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

// What became of the answers: one bar per arm, right, cut off, and the rest by their reasons.
function outcomes(parent, arms) {
  const known = arms.filter((arm) => arm.outcomes);
  if (!known.length) return;
  add(parent, "h4", "What became of the answers");
  const box = add(parent, "div", null, "outcomes card");
  for (const arm of known) {
    const o = arm.outcomes;
    add(box, "div", arm.name, "name");
    const bar = add(box, "div", null, "bar");
    const part = (count, name, text) => {
      if (!count) return;
      const piece = add(bar, "div", count / o.samples > 0.06 ? share(count / o.samples) : "", name);
      piece.style.width = (100 * count) / o.samples + "%";
      piece.title = text + ": " + share(count / o.samples) + " (" + short(count) + " of " + short(o.samples) + ")";
    };
    part(o.right, "right", "right");
    part(o.cut_off, "cut", "cut off at " + short(o.limit) + " tokens");
    for (const [i, w] of o.wrong.entries()) part(w.count, i ? "other" : "wrong", reason(w.why));
  }
  const wrong = [...new Set(known.flatMap((arm) => arm.outcomes.wrong.slice(0, 1).map((w) => reason(w.why))))];
  const legend = add(parent, "p", null, "legend");
  for (const [name, text] of [["right", "right"], ["cut", "cut off at the limit of tokens"], ["wrong", "ended and wrong: " + (wrong.join(", ") || "none")], ["other", "other reasons"]]) {
    add(legend, "i", null, name);
    legend.append(text);
  }
}

function arms_table(parent, arms) {
  const ks = [...new Set(arms.flatMap((arm) => arm.pass_at.map((p) => p.k)))].filter((k) => k !== "1").sort((a, b) => a - b);
  const trained = arms.some((arm) => arm.spent);
  const heads = ["evaluation", "pass@1", "95 % interval", ...ks.map((k) => "pass@" + k), "mean length", "thoughts of right answers", "cut off",
    "well formed", "tokens sampled", ...(trained ? ["tokens spent by its stage"] : []), "model"];
  const row = (arm) => [
    arm.name, fixed(pass(arm, "1"), 3), fixed(arm.low, 3) + " – " + fixed(arm.high, 3), ...ks.map((k) => fixed(pass(arm, k), 3)),
    fixed(arm.mean_length, 1), fixed(arm.mean_thinking, 1), percent(arm.truncated), percent(arm.well_formed), short(arm.tokens),
    ...(trained ? [spent(arm.spent)] : []), arm.model,
  ];
  table(parent, heads, arms.map(row), [0, heads.indexOf("tokens spent by its stage"), heads.length - 1]);
}

// Arms are shown together where they sat the same exam: one task, as many problems and samples.
function exams(page, arms, runs) {
  const exam = (arm) => JSON.stringify([arm.task, arm.problems, arm.samples]);
  const sat = (key) => new Set(arms.filter((arm) => exam(arm) === key).map((arm) => arm.run)).size;
  const keys = [...new Set(arms.map(exam))].sort((a, b) => sat(b) - sat(a));
  if (runs.length > 1 && sat(keys[0]) < 2)
    add(page, "p", "No two of these runs sat the same exam (task, number of problems, answers to each), so that their figures do not compare.", "muted");
  for (const key of keys) {
    const same = arms.filter((arm) => exam(arm) === key);
    const { task, problems, samples } = same[0];
    add(page, "h3", (isFile(task) ? "Problems of " + task : task || "Task not named") + `: ${short(problems)} problems, ${short(samples)} ${samples === 1 ? "answer" : "answers"} each`);
    forest(page, same);
    arms_table(page, same);
    outcomes(page, same);
    if (runs.length > 1) continue;
    const trained = runs[0].comparisons.filter((c) => c.what === "training" && same.includes(armOf(runs[0], c.after)));
    const shown = trained.find((c) => c.kind === "grpo" || c.kind === "ppo") || trained[0];
    const arm = shown ? armOf(runs[0], shown.after) : same[same.length - 1];
    if (arm.outcomes) explainCeiling(page, arm, shown && armOf(runs[0], shown.before));
  }
}

function evaluations(page, run) {
  add(page, "h2", "Evaluations");
  if (!run.evaluations.length) return add(page, "p", "This run holds no evaluation.", "muted");
  exams(page, run.evaluations, [run]);
}

function example(parent, c, e) {
  const card = add(parent, "div", null, "example card");
  add(card, "b", e.question);
  const pair = add(card, "div", null, "pair");
  for (const [name, side] of [[c.before, e.before], [c.after, e.after]]) answer(pair, name, side);
}

function answer(parent, name, side) {
  const box = add(parent, "div");
  const who = add(box, "div", name + ": ", "who");
  add(who, "span", side.correct ? "right" : "wrong" + (side.why ? " (" + reason(side.why) + ")" : ""), side.correct ? "good" : "bad");
  who.append(", " + short(side.tokens) + " tokens");
  if (typeof side.advantage === "number") who.append(", advantage " + (side.advantage > 0 ? "+" : "") + fixed(side.advantage, 2));
  if (side.thought) add(box, "pre", side.thought, "thought");
  if (side.answer != null) add(box, "pre", side.answer || "(no answer)", "answer");
}

function comparisons(page, run) {
  if (!run.comparisons.length) return;
  add(page, "h2", "What changed");
  const delta = (c) => {
    const [a, b] = [armOf(run, c.before), armOf(run, c.after)];
    const apart = b.low > a.high || b.high < a.low;
    return `pass@1 ${fixed(pass(a, "1"), 3)} and ${fixed(pass(b, "1"), 3)}; the 95 % intervals ${apart ? "do not overlap" : "overlap"}. `;
  };
  const all = (c) => c.turned_right + c.turned_wrong + c.stayed_right + c.stayed_wrong;
  for (const c of run.comparisons) {
    if (c.what === "training") {
      add(page, "h3", `${titled(c)}: ${c.before} → ${c.after}`);
      add(page, "p", delta(c) + (all(c) ? `Of the first answers to ${short(all(c))} problems ${short(c.turned_right)} turned right, ` +
        `${short(c.turned_wrong)} turned wrong, ${short(c.stayed_right)} stayed right, ${short(c.stayed_wrong)} stayed wrong.` : ""), "muted");
      if (!c.examples.length) continue;
      add(page, "p", "The same problem, before and after:", "muted");
      for (const e of c.examples) example(page, c, e);
    } else if (c.what === "teacher") {
      const [teacher, student] = [armOf(run, c.before), armOf(run, c.after)];
      const size = (arm) => run.models.find((m) => m.name === arm.model)?.parameters;
      add(page, "h3", `${titled(c)}: the student ${c.after} and its teacher ${c.before}`);
      add(page, "p", delta(c) + (size(teacher) && size(student) ? `The teacher has ${short(size(teacher))} parameters, the student ${short(size(student))}. ` : "") +
        (all(c) ? `Of the first answers to ${short(all(c))} problems both are right on ${short(c.stayed_right)}, the teacher alone on ${short(c.turned_wrong)}, ` +
        `the student alone on ${short(c.turned_right)}, neither on ${short(c.stayed_wrong)}.` : ""), "muted");
    } else {
      add(page, "h3", `Two ways from the same model: ${c.before} and ${c.after}`);
      add(page, "p", delta(c), "muted");
    }
  }
}

function rollouts(page, stage) {
  if (!stage.rollouts?.length) return;
  add(page, "h3", "Rollouts over the steps");
  add(page, "p", "What the model wrote while it trained. For each of these steps: one problem and its group, a square per answer. Below it the answer with the " +
    "highest advantage, which the step made more likely, and the one with the lowest, which it made less likely.", "muted");
  for (const step of stage.rollouts) {
    const card = add(page, "details", null, "card rollout");
    card.open = step === stage.rollouts[0] || step === stage.rollouts[stage.rollouts.length - 1];
    const head = add(card, "summary");
    add(head, "b", "Step " + short(step.step));
    head.append(`: of ${short(step.samples)} answers ${share(step.right / step.samples)} right, ${share(step.cut_off / step.samples)} cut off. `);
    const squares = add(head, "span", null, "squares");
    for (const r of step.group) {
      add(squares, "i", null, r.correct ? "right" : r.cut_off ? "cut" : "wrong").title = `reward ${short(r.reward)}, advantage ${fixed(r.advantage, 2)}, ${short(r.tokens)} tokens`;
    }
    add(card, "p", step.question);
    const pair = add(card, "div", null, "pair");
    answer(pair, step.worst ? "made more likely" : "the first answer (all of the group earned the same: nothing was learned from it)", step.best);
    if (step.worst) answer(pair, "made less likely", step.worst);
  }
  const legend = add(page, "p", null, "legend");
  for (const [name, text] of [["right", "right"], ["cut", "cut off"], ["wrong", "wrong"]]) {
    add(legend, "i", null, name);
    legend.append(text);
  }
}

function training(page, run) {
  for (const stage of run.training) {
    add(page, "h2", "Training: " + titled({ stage: stage.name, kind: stage.kind }));
    if (!stage.rows) {
      add(page, "p", "No step has been written yet.", "muted");
      continue;
    }
    const last = stage.ends.step?.[1];
    add(page, "p", (stage.base ? `From ${stage.base}${stage.teacher ? ", taught by " + stage.teacher : ""}. ` : "") +
      `${typeof last === "number" ? "Step " + short(last) : short(stage.rows) + " rows"}${stage.finished ? ", finished" : ", not finished"}; ` +
      `tokens: ${spent(stage.spent)}; ${duration(stage.wall_s)}.` + (stage.every > 1 ? ` Of ${short(stage.rows)} rows every ${stage.every}th is drawn.` : ""), "muted");
    if (typeof stage.sampler_trainer === "number") {
      add(page, "p", stage.sampler_trainer === 0
        ? `Sampler against trainer: sampler_trainer_max_abs is exactly 0 in all ${short(stage.rows)} rows: no log-prob differs in any bit.`
        : `Sampler against trainer: sampler_trainer_max_abs reaches ${short(stage.sampler_trainer)}.`, stage.sampler_trainer === 0 ? "good" : "bad");
    }
    const zero = drawStage(page, stage);
    if (zero.length) add(page, "p", "0 in every row, and not drawn: " + zero.map(label).join(", ") + ".", "muted");
    explainLoss(page, stage);
    rollouts(page, stage);
    if (stage.phases?.length) {
      add(page, "h3", "Where a step's time goes");
      table(page, ["phase", "median, s", "share"], stage.phases.map((p) => [p.name === "step_s" ? "whole step" : label(p.name.replace(/_s$/, "")),
        p.median === null ? "–" : short(p.median), percent(p.share)]));
    }
  }
}

function models(page, run) {
  if (!run.models.length) return;
  add(page, "h2", "Models");
  table(page, ["model", "architecture", "parameters", "layers", "width", "experts", "vocabulary", "context"],
    run.models.map((m) => [m.name, m.architecture, ...["parameters", "layers", "width", "experts", "vocabulary", "context"].map((key) => short(m[key]))]), [0, 1]);
}

function repeat(page, run) {
  add(page, "h2", "How to repeat it");
  if (run.repeat.commands.length) {
    add(page, "p", "In the folder that the run was started in, these commands make it again beside it. With the same files and numerics its weights come out the same, to the last bit.");
    add(page, "pre", run.repeat.commands.join("\n"), "example card");
  }
  for (const name of run.repeat.changed)
    add(page, "p", `${name} has been changed since: to repeat the run as it was, put the copy below in its place.`, "bad");
  for (const file of run.repeat.files) {
    const box = add(page, "details", null, "card");
    add(box, "summary", file.name + (file.note ? " (" + file.note + ")" : ""));
    add(box, "pre", file.text);
  }
  if (!run.missing.length) return;
  add(page, "h2", "Left out");
  const list = add(page, "ul", null, "missing");
  for (const sentence of run.missing) add(list, "li", sentence);
}

// Several runs on one page: their exams together, their curves on the same axes.
function sideBySide(page, runs) {
  add(page, "h2", "Side by side");
  const names = [...new Set(runs.flatMap((run) => run.facts.map((fact) => fact.name)))].filter((name) => !name.startsWith("Settings"));
  table(page, ["run", ...names, "last written"], runs.map((run) => [run.name, ...names.map((name) => run.facts.find((f) => f.name === name)?.value ?? "–"), run.written]),
    [0, ...names.map((_, i) => i + 1)]);
  const arms = runs.flatMap((run) => run.evaluations.map((arm) => ({ ...arm, run, name: run.name + ": " + arm.name })));
  if (arms.length) exams(page, arms, runs);
  const stages = runs.flatMap((run) => run.training.map((stage) => ({ name: run.training.length > 1 ? run.name + ": " + stage.name : run.name, stage })));
  for (const [title, chosen] of [["Reinforcement learning", stages.filter(({ stage }) => isReinforced(stage))], ["Supervised training", stages.filter(({ stage }) => !isReinforced(stage))]]) {
    if (chosen.length < 2) continue;
    add(page, "h3", title + " by step");
    drawTogether(page, chosen);
  }
}

const data = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page");
add(page, "h1", data.name);
if (data.runs.length === 1) facts(page, data.runs[0]), tiles(page, data.runs[0]);
explain(page, data.runs);
if (data.runs.length > 1) sideBySide(page, data.runs);
for (const run of data.runs) {
  const part = data.runs.length === 1 ? page : add(page, "section");
  if (part !== page) add(part, "h1", "Run: " + run.name), facts(part, run), tiles(part, run);
  for (const show of [evaluations, comparisons, training, models, repeat]) show(part, run);
}
