// The rollouts of a run: answers with their verdicts, the newest first.
import { el, button, announce } from "./dom.js";
import { getJson } from "./api.js";
import { numberText } from "./chart.js";

const kNames = { samples: "Rollouts (samples.jsonl)", evals: "Evaluations (evals.jsonl)" };
const kVerdicts = { all: "All", right: "Right", wrong: "Wrong" };

export class RolloutList {
  #run;
  #files = {};
  #file = "";
  #verdict = "all";
  #older = null;
  #asked = 0;  // requests so far: the answer to an earlier one than the last comes too late

  constructor(run) {
    this.#run = run;
    this.rows = el("ol", { class: "rollouts", "aria-label": "Answers" });
    this.choose = el("div", { class: "row" });
    this.newer = button("Show new answers", () => this.#begin(), { hidden: true });
    this.more = button("Earlier answers", () => this.#load(), { hidden: true });
    this.note = el("p", { class: "muted small" });
    this.element = el("section", { "aria-labelledby": "rollouts-title" },
      el("h2", { id: "rollouts-title" }, "Answers"), this.choose, this.newer, this.rows, this.note, this.more);
  }

  // Takes the sizes of the run's files. New rows are shown at once unless a person is reading.
  filesAre(files) {
    const has = Object.keys(files);
    this.element.hidden = has.length === 0;
    if (has.length === 0) return;
    const isFirst = this.#file === "";
    const grew = files[this.#file] !== this.#files[this.#file];
    const isNew = has.join() !== Object.keys(this.#files).join();
    this.#files = files;
    if (!has.includes(this.#file)) this.#file = has[0];
    if (isNew) this.#showChoices(has);
    if (isFirst) {
      void this.#begin();
    } else if (grew) {
      if (this.rows.querySelector("details[open]") || this.rows.contains(document.activeElement)) this.newer.hidden = false;
      else void this.#begin();
    }
  }

  #showChoices(files) {
    const list = (label, names, value, change) => {
      const select = el("select", { onchange: (event) => change(event.currentTarget.value) },
        ...Object.entries(names).map(([name, text]) => el("option", { value: name, selected: name === value }, text)));
      return el("label", {}, `${label} `, select);
    };
    this.choose.replaceChildren(
      ...(files.length > 1 ? [list("Show", Object.fromEntries(files.map((name) => [name, kNames[name]])), this.#file, (name) => {
        this.#file = name;
        void this.#begin();
      })] : []),
      list("Verdict", kVerdicts, this.#verdict, (name) => {
        this.#verdict = name;
        void this.#begin();
      }));
  }

  async #begin() {
    this.#older = null;
    this.newer.hidden = true;
    await this.#load(true);
  }

  async #load(isFromEnd = false) {
    const query = new URLSearchParams({ run: this.#run, file: this.#file, verdict: this.#verdict, limit: 50 });
    if (this.#older !== null) query.set("before", this.#older);
    const asked = ++this.#asked;
    try {
      const { rows, older, unreadable } = await getJson(`/runs/rollouts?${query}`);
      if (asked !== this.#asked) return;
      const items = rows.map(rolloutElement);
      if (isFromEnd) this.rows.replaceChildren(...items);
      else this.rows.append(...items);
      this.#older = older;
      this.more.hidden = older === null;
      const count = this.rows.childElementCount;
      this.note.textContent = `${count === 0 ? "No answer" : count === 1 ? "1 answer" : `${count} answers`} so far` +
        `${older === null ? ", which are all" : ""}.` +
        (unreadable ? ` ${unreadable} rows of this part of the file cannot be shown.` : "");
      if (!isFromEnd) announce(this.note.textContent);
    } catch (error) {
      this.note.textContent = error.message;
    }
  }
}

function rolloutElement(row) {
  const where = [row.step !== undefined ? `step ${row.step}` : "", row.eval ?? row.task ?? "",
    row.problem !== undefined ? `problem ${row.problem}` : "", row.sample ? `sample ${row.sample}` : ""].filter(Boolean).join(", ");
  const figures = [row.reward !== undefined ? `reward ${numberText(row.reward)}` : "",
    row.advantage !== undefined ? `advantage ${numberText(row.advantage)}` : "",
    row.tokens !== undefined ? `${row.tokens} tokens` : "", row.finish_reason === "length" ? "cut off" : "",
    row.status && row.status !== "scored" ? row.status : ""].filter(Boolean).join(", ");
  const verdict = row.correct ? "right" : "wrong";
  const part = (name, text, kind) => (text ? [el("h3", {}, name), el("pre", { class: kind, tabindex: 0, role: "group", "aria-label": name }, text)] : []);
  return el("li", {}, el("details", {},
    el("summary", {}, el("span", { class: `verdict ${verdict}` }, verdict), " ",
      el("span", { class: "question" }, (row.question ?? "").split("\n")[0].slice(0, 160) || "(no question)"), " ",
      el("span", { class: "muted small" }, [where, figures].filter(Boolean).join(" · "))),
    ...part("Question", row.question), ...part("Thought", row.thought, "thought"), ...part("Answer", row.answer, "answer"),
    row.answer === undefined ? el("p", { class: "muted" }, "This row has no text: an earlier version of r1 wrote it.") : null,
    ...part("Expected", row.gold),
    row.why ? el("p", {}, `Verdict: ${verdict} (${row.why}).`) : null));
}
