// One message of a conversation as an element.
import { el, button, copyText } from "./dom.js";
import { costOf } from "./settings.js";
import { showMarkdown } from "./markdown.js";

const plural = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;

export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return plural(Math.round(seconds), "second");
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

const kEnds = {
  length: "The answer ended at the limit of its tokens. The settings can raise it.",
  context: "The model's context is full. Begin a new conversation to go on.",
  loop: "The model only repeated itself, so the server ended the answer.",
  timeout: "The answer took longer than the server allows.",
};

// Returns what the page says about a complete or broken answer, or "".
function noticeOf(message) {
  if (message.notice) return message.notice;
  if (message.state === "stopped") return "Stopped.";
  if (message.state === "running") return "Another tab is writing this answer.";
  return kEnds[message.finish] ?? "";
}

// The tokens of an answer per second, without the time before the first. 0: they came together, so that nothing can
// be said.
export function speedOf(stats) {
  const kShortest = 0.1;  // seconds
  const seconds = (stats.seconds ?? 0) - (stats.first ?? 0);
  return stats.tokens > 1 && seconds >= kShortest ? (stats.tokens - 1) / seconds : 0;
}

function statsText(message) {
  const s = message.stats ?? {};
  if (!s.tokens) return "";
  const parts = [plural(s.tokens, "token")];
  if (s.reasoning) parts[0] += ` (${s.reasoning} of thought)`;
  const speed = speedOf(s);
  if (speed) parts.push(`${speed.toFixed(speed < 10 ? 1 : 0)} tokens/s`);
  if (s.prompt) parts.push(`prompt ${s.prompt}${s.cached ? `, ${s.cached} of it cached` : ""}`);
  if (s.seconds) parts.push(`${s.seconds.toFixed(s.seconds < 1 ? 2 : 1)} s`);
  const cost = s.seconds ? costOf(s.seconds) : "";
  if (cost) parts.push(cost);
  if (message.seed !== undefined) parts.push(`seed ${message.seed}`);
  return parts.join(" · ");
}

// A message of the user. `actions.edit(text)` replaces it.
export function userElement(message, actions) {
  const article = el("article", { class: "message user", "aria-label": "Your message" });
  const show = () => {
    const edit = button("Edit", change);
    article.replaceChildren(el("div", { class: "text plain" }, message.content),
      el("div", { class: "tools" }, button("Copy", (e) => copyText(message.content, e.currentTarget)), edit));
    return edit;
  };
  const change = () => {
    if (!actions.mayEdit()) return;
    const text = el("textarea", { "aria-label": "Your message", rows: Math.min(12, message.content.split("\n").length + 1) });
    text.value = message.content;
    const cancel = () => show().focus();
    const save = () => {
      const changed = text.value.trim();
      if (changed) actions.edit(changed);
    };
    text.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        cancel();
      } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        save();
      }
    });
    article.replaceChildren(text, el("div", { class: "tools" },
      button("Ask again", save, { class: "main-button" }), button("Cancel", cancel),
      el("span", { class: "muted small" }, "What follows this message is replaced.")));
    text.focus();
  };
  show();
  return article;
}

// An answer, whose message may still grow: update() shows what it has now.
export class AnswerElement {
  constructor(message, actions) {
    this.message = message;
    this.summary = el("summary");
    this.thoughtText = el("div", { class: "text plain" });
    this.thought = el("details", { class: "thought" }, this.summary, this.thoughtText);
    this.answer = el("div", { class: "text markdown" });
    this.notice = el("p", { class: "notice" });
    this.stats = el("p", { class: "muted small stats" });
    this.again = button("Regenerate", actions.regenerate);
    this.tools = el("div", { class: "tools" },
      button("Copy", (e) => copyText(message.content, e.currentTarget)), this.again);
    this.element = el("article", { class: "message assistant", "aria-label": "Answer" },
      this.thought, this.answer, this.notice, this.tools, this.stats);
    this.wasThinking = false;
    // A person who folds or opens the thought has decided.
    this.summary.addEventListener("click", () => { this.decided = true; });
  }

  // `isLive`: the answer is being written. `isLast`: it ends the conversation, so it can be regenerated.
  update(isLive, isLast) {
    const { message } = this;
    const isThinking = isLive && !message.content;
    this.#updateThought(isLive, isThinking);
    showMarkdown(this.answer, message.content);
    const notice = isLive ? "" : noticeOf(message);
    this.notice.textContent = notice;
    this.notice.hidden = !notice;
    this.notice.classList.toggle("bad", message.state === "failed");
    this.stats.textContent = statsText(message);
    this.stats.hidden = !this.stats.textContent;
    this.tools.hidden = isLive;
    this.again.hidden = !isLast || message.state === "running";
    this.again.textContent = message.state === "failed" ? "Try again" : "Regenerate";
  }

  #updateThought(isLive, isThinking) {
    const { message } = this;
    this.thought.hidden = !message.reasoning && !isThinking;
    // A thought only grows; its text is set anew only if it is another.
    const shown = this.thoughtText.firstChild;
    if (shown && message.reasoning.startsWith(shown.data)) {
      shown.appendData(message.reasoning.slice(shown.length));
    } else {
      this.thoughtText.replaceChildren(message.reasoning);
    }
    if (isThinking) {
      this.summary.textContent = message.reasoning ? "Thinking …" : "Waiting for the model …";
    } else {
      const seconds = message.stats?.thought;
      this.summary.textContent = seconds === undefined ? "Thought" : `Thought for ${duration(seconds)}`;
    }
    if (!this.decided && isThinking !== this.wasThinking) this.thought.open = isThinking;
    this.wasThinking = isThinking;
    this.thought.classList.toggle("live", isThinking);
  }
}
