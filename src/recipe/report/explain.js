// What a newcomer needs to read the page: the game, the method, the figures, and why accuracy stops where it does.
// Every number comes from the run.
const isCountdown = (task) => /^(countdown|game24)/.test(task || "");
const isReinforced = (stage) => stage.kind === "grpo" || stage.kind === "ppo" || (stage.columns && "accuracy" in stage.columns);
const untagged = (answer) => answer.replace(/<\/?answer>/g, "").trim();
const share = (value) => (100 * value).toFixed(value > 0.995 || value < 0.005 ? 1 : 0) + " %";

function explanation(parent, title, ...paragraphs) {
  const box = add(parent, "div", null, "card explanation");
  add(box, "h3", title);
  for (const text of paragraphs) if (text) add(box, "p", text);
  return box;
}

function explainCountdown(parent, runs) {
  const run = runs.find((r) => isCountdown(r.example?.task));
  const asked = runs.some((r) => r.evaluations.some((arm) => isCountdown(arm.task)) || r.training.some((s) => isCountdown(s.settings?.["data.task"])));
  if (!asked) return;
  const box = explanation(parent, "The game: countdown",
    "A problem gives a few numbers and a target. An answer is an arithmetic expression that uses each number exactly once and comes to the target. " +
    "Finding one takes a search; checking one takes a line of arithmetic. So a program can mark every answer, and a model that thinks longer can do better.",
    "The model writes its search between <think> and </think> and the expression between <answer> and </answer>. The problems of an evaluation are held out: " +
    "their numbers occur in no training problem.");
  if (!run) return;
  const line = add(box, "p", "From this run: “" + run.example.question + "” A right answer to it is ");
  add(line, "code", untagged(run.example.answer));
  line.append(".");
}

function explainGrpo(parent, runs) {
  const stage = runs.flatMap((r) => r.training).find((s) => s.kind === "grpo");
  if (!stage) return;
  const set = stage.settings || {};
  const [prompts, group] = [set["rollout.prompts"], set["rollout.group"]];
  const paid = ["accuracy", "format", "overlong", "brevity"].filter((name) => set["reward." + name]);
  const divided = { group: ", divided by the group's standard deviation", batch: ", divided by the step's standard deviation" }[set["loss.normalise"]] || "";
  explanation(parent, "The method: GRPO",
    "Group relative policy optimization is how R1-Zero learns. In each step the model answers " +
    (prompts && group ? `${short(prompts)} problems, ${short(group)} times each (stage ${stage.name})` : "some problems, several times each") +
    ". A program marks the answers" + (paid.length === 1 && paid[0] === "accuracy" ? `: a right one earns ${short(set["reward.accuracy"])}, a wrong one 0.` : ".") +
    ` The advantage of an answer is its reward minus the mean of its group${divided}.`,
    "The step makes the tokens of answers with a positive advantage more likely, and those with a negative one less likely. Nobody shows the model a solution: " +
    "it learns which of its own attempts worked. A group whose answers all earn the same teaches nothing.");
}

function explainPpo(parent, runs) {
  const stage = runs.flatMap((r) => r.training).find((s) => s.kind === "ppo");
  if (!stage) return;
  const set = stage.settings || {};
  explanation(parent, "The method: PPO with a critic",
    "Proximal policy optimization is what GRPO was made to replace. " + `A second model as large as the first, the critic, learns to foresee the reward of an answer from every token on (stage ${stage.name}). ` +
    "The advantage of a token is what came of the answer beyond what the critic expected there" +
    (set["critic.lambda"] === undefined ? "." : ` (lambda = ${short(set["critic.lambda"])}: 1 takes the whole outcome, less than 1 trusts the critic's later opinions).`),
    "The step makes tokens with a positive advantage more likely, and those with a negative one less likely. The critic is trained beside it, which costs memory and time.");
}

function explainDistillation(parent, runs) {
  const stage = runs.flatMap((r) => r.training).find((s) => s.kind === "distill");
  if (!stage) return;
  explanation(parent, "The shortcut: distillation",
    `A teacher${stage.teacher ? " (" + stage.teacher + ")" : ""} answers many problems. Its right answers, thoughts included, are the text that a student` +
    `${stage.base ? " (" + stage.base + ")" : ""} is trained to continue in the same way. The student does no search of its own in training, so this is cheap; ` +
    "it hardly gets better than its teacher in this way.");
}

function explainFigures(parent, runs) {
  const arms = runs.flatMap((r) => r.evaluations.map((arm) => ({ ...arm, name: (runs.length > 1 ? r.name + ": " : "") + arm.name })));
  if (!arms.length) return;
  const wide = arms.reduce((best, arm) => (gap(arm) > gap(best) ? arm : best), arms[0]);
  const k = widest(wide);
  explanation(parent, "The figures: pass@k and its interval",
    "pass@1 is the share of right answers among all that were sampled. pass@k is the chance that at least one of k answers to a problem is right. " +
    "If it is far above pass@1, the model can find answers that it does not find every time. Reinforcement learning mostly turns the one into the other." +
    (k !== "1" ? ` Here the gap is widest in evaluation “${wide.name}”: pass@1 is ${fixed(pass(wide, "1"), 3)}, pass@${k} is ${fixed(pass(wide, k), 3)}.` : ""),
    `The bar around a pass@1 is its 95 % interval: how far the figure may be off because only ${short(wide.problems)} problems were asked. Two results whose intervals overlap widely may well be equal.`);
}
const widest = (arm) => arm.pass_at.reduce((most, p) => (+p.k > +most ? p.k : most), "1");
const gap = (arm) => (pass(arm, widest(arm)) ?? 0) - (pass(arm, "1") ?? 0);

function explain(page, runs) {
  const grid = add(null, "div", null, "explanations");
  for (const part of [explainCountdown, explainGrpo, explainPpo, explainDistillation, explainFigures]) part(grid, runs);
  if (!grid.children.length) return;
  add(page, "h2", "What you are looking at");
  page.append(grid);
}

// Under the bars of what became of the answers.
function explainCeiling(parent, arm, before) {
  const o = arm.outcomes;
  const failed = o.samples - o.right;
  if (!failed) return;
  add(parent, "h4", "Why accuracy stops where it stops");
  const cut = o.cut_off / o.samples;
  if (2 * o.cut_off >= failed) {
    add(parent, "p", `In evaluation “${arm.name}”, ${share(o.right / o.samples)} of the answers are right and ${share(cut)} were cut off at ${short(o.limit)} tokens, still searching: ` +
      `${share(o.cut_off / failed)} of all failures. The model has learned to go on until something fits, so what it misses, it mostly misses for lack of room. ` +
      `As long as ${share(cut)} of the answers are cut off, pass@1 cannot exceed ${fixed(1 - cut, 3)}. A larger max_tokens, in training and in the evaluation, moves this ceiling; so do thoughts that search better.` +
      (before?.outcomes ? ` In evaluation “${before.name}”, only ${share(before.outcomes.cut_off / before.outcomes.samples)} were cut off: that model soon settles for an answer, right or wrong.` : ""));
  } else {
    add(parent, "p", `In evaluation “${arm.name}”, of the ${share(failed / o.samples)} of answers that are not right, only ${share(o.cut_off / failed)} were cut off at the limit of tokens; the rest ended by themselves and are wrong` +
      `${o.wrong[0] ? " (most often: " + reason(o.wrong[0].why) + ")" : ""}. A larger limit alone would change little: the model is wrong, not out of room.`);
  }
}
const reason = (why) => (why || "no reason given").replaceAll("_", " ");

function explainLoss(parent, stage) {
  const loss = stage.ends?.loss;
  if (!loss) return;
  const right = stage.ends.accuracy;
  const byLength = stage.settings?.["loss.aggregate"] !== "sequence";
  add(parent, "p", isReinforced(stage)
    ? "The loss is not the thing to watch: it does not measure how far answers are from being right. The advantages of a group add up to 0, so what is left of them in the loss " +
      (byLength ? "only says whether the longer answers were the worse ones (above 0) or the better ones (below 0). " : "is close to 0, however well the model does. ") +
      `Here it went from ${short(loss[0])} to ${short(loss[1])}` + (right ? ` while the share of right answers went from ${short(right[0])} to ${short(right[1])}` : "") +
      ". Only its gradient is of use: watch the share of right answers."
    : `The loss is the mean of −log p over the tokens that are learned from, in nats (${short(loss[0])} at the first step, ${short(loss[1])} at the last). It falls while the model gets better at continuing these texts. ` +
      "Whether its own answers are right, only an evaluation tells.", "muted");
}
