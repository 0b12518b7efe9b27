// The conversation that is open: asking, stopping, regenerating, editing.
import { el, button, byId, announce } from "./dom.js";
import { ServerError, streamChat } from "./api.js";
import { requestFields, settings, costOf, openSettings, onSettings } from "./settings.js";
import { AnswerElement, userElement, duration, speedOf } from "./message.js";
import { Speaker } from "./announce.js";
import { endInterrupted, findConversation, newConversation, saveConversation } from "./store.js";
import { onDeleted, onSaved, setWriting } from "./tabs.js";

const kDrawEvery = 80;     // ms at most until a part of an answer is drawn
const kSaveEvery = 1000;   // ms at most until it is saved
const kLongestTitle = 60;  // characters

let conversation = newConversation();
let running = null;  // {message, conversation, abort}
let modelName = "";
let onChange = () => {};  // the list of conversations

export const openConversation = () => conversation;
export const isRunning = () => running !== null;

export function startChat(changed) {
  onChange = changed;
  const form = byId("composer"), text = byId("message");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  text.addEventListener("input", fitComposer);
  byId("stop").addEventListener("click", stop);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && running && !event.defaultPrevented && !byId("settings").open) stop();
  });
  onSettings(showConversation);
  onSaved((id, isWriting) => void takeChanges(id, isWriting));
  onDeleted((id) => {
    if (conversation.id === id) show(newConversation());
  });
}

// Takes in what another tab has made of the open conversation. `isWriting`: that tab is still writing an answer to it.
async function takeChanges(id, isWriting) {
  const isOpen = () => conversation.id === id && running === null;
  if (!isOpen()) return;
  const saved = await findConversation(id);
  if (saved && !isWriting) await endInterrupted([saved]);
  if (!saved || !isOpen()) return;
  adopt(saved);
  showConversation();
}

// Makes the open conversation what another tab has made of it. Messages that only grew keep their elements.
function adopt(saved) {
  const old = conversation.messages;
  const messages = saved.messages.map((message, i) => {
    const same = old[i]?.role === message.role && (message.role === "assistant" || old[i].content === message.content);
    return same ? Object.assign(old[i], message) : message;
  });
  Object.assign(conversation, saved, { messages });
}

// True if another tab is writing the open conversation's answer, which is then said.
function isBusyElsewhere() {
  const isBusy = !running && conversation.messages.at(-1)?.state === "running";
  if (isBusy) announce("Another tab is writing the answer. Wait for its end, or begin a new conversation.");
  return isBusy;
}

export function setModel(name) {
  modelName = name;
}

// Shows another conversation. The answer that is being written is stopped.
export function show(next) {
  if (running) stop();
  conversation = next;
  showConversation();
  if (next.messages.at(-1)?.state === "running") void takeChanges(next.id, false);
}

export function stop() {
  running?.abort.abort();
}

function fitComposer() {
  const text = byId("message");
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
}

function send() {
  const text = byId("message");
  const content = text.value.trim();
  if (!content || running || isBusyElsewhere()) return;
  text.value = "";
  fitComposer();
  conversation.messages.push({ role: "user", content });
  if (!conversation.title) conversation.title = titleOf(content);
  ask();
}

function titleOf(content) {
  const line = [...content.split("\n")[0]];
  return line.length <= kLongestTitle ? line.join("") : `${line.slice(0, kLongestTitle - 1).join("").trimEnd()}…`;
}

// Replaces the message at `index`, and everything after it.
function edit(index, content) {
  conversation.messages.length = index;
  conversation.messages.push({ role: "user", content });
  ask();
  byId("message").focus();
}

function regenerate() {
  if (running || isBusyElsewhere()) return;
  conversation.messages.pop();
  if (settings().seed !== "") announce("The seed is set, so the answer will be the same.");
  ask();
  byId("message").focus();
}

function requestMessages() {
  const messages = conversation.messages.map(({ role, content }) => ({ role, content }));
  return settings().system ? [{ role: "system", content: settings().system }, ...messages] : messages;
}

// Asks for the answer to the conversation as it is.
async function ask() {
  const body = { ...requestFields(), messages: requestMessages() };
  const message = {
    role: "assistant", content: "", reasoning: "", model: modelName, state: "running", finish: "", notice: "", stats: {},
  };
  conversation.messages.push(message);
  conversation.updated = Date.now();
  const asked = conversation;
  running = { message, conversation: asked, abort: new AbortController() };
  setWriting(asked.id);
  showConversation();
  await saveConversation(asked);
  onChange();
  announce("The model is thinking.");
  const writer = new Writer(message, asked);
  try {
    await streamChat(body, running.abort.signal, (chunk) => writer.take(chunk));
    message.state = "done";
  } catch (error) {
    writer.fail(error);
  }
  writer.end();
  running = null;
  asked.updated = Date.now();
  await saveConversation(asked);
  setWriting(null);
  showConversation();  // another one may be open: its buttons change, too
  onChange();
}

// Takes the chunks of an answer.
class Writer {
  constructor(message, asked) {
    this.message = message;
    this.asked = asked;
    this.began = performance.now();
    this.speaker = new Speaker();
    this.drawing = this.saving = null;  // timers
  }

  take(chunk) {
    const { message } = this;
    const stats = message.stats;
    const now = (performance.now() - this.began) / 1000;
    if (Number.isSafeInteger(chunk.seed)) message.seed = chunk.seed;
    if (chunk.usage) {
      stats.tokens = chunk.usage.completion_tokens;
      stats.prompt = chunk.usage.prompt_tokens;
      stats.cached = chunk.usage.prompt_tokens_details?.cached_tokens ?? 0;
      stats.reasoning = chunk.usage.completion_tokens_details?.reasoning_tokens ?? 0;
    }
    const choice = chunk.choices?.[0];
    if (!choice) return;
    const thought = choice.delta?.reasoning_content, content = choice.delta?.content;
    if (choice.token_ids?.length) {
      stats.tokens = (stats.tokens ?? 0) + choice.token_ids.length;
      stats.first ??= now;
    }
    stats.seconds = now;
    if (thought) {
      this.thoughtBegan ??= now;
      message.reasoning += thought;
      stats.thought = now - this.thoughtBegan;
    }
    if (content) {
      if (!message.content && message.reasoning) {
        stats.thought = now - this.thoughtBegan;
        announce(`Thought for ${duration(stats.thought)}. The answer begins.`);
      }
      message.content += content;
      this.speaker.add(content);
    }
    if (choice.finish_reason) message.finish = choice.finish_detail ?? choice.finish_reason;
    this.#show();
  }

  fail(error) {
    if (error.name === "AbortError") {
      this.message.state = "stopped";
    } else {
      this.message.state = "failed";
      this.message.notice = error instanceof ServerError ? error.message : `The page has an error: ${error.message}`;
      if (error.kind === "key") this.message.needsKey = true;
    }
  }

  end() {
    clearTimeout(this.drawing);
    clearTimeout(this.saving);
    this.message.stats.seconds = (performance.now() - this.began) / 1000;
    this.speaker.end();
    if (this.message.state === "done") announce("The answer is complete.");
    if (this.message.state === "stopped") announce("The answer was stopped.");
    if (this.message.state === "failed") announce(this.message.notice);
  }

  // Each part is drawn soon and saved soon, also if no other follows it.
  #show() {
    this.drawing ??= setTimeout(() => {
      this.drawing = null;
      if (this.asked === conversation && running?.message === this.message) drawLive();
    }, kDrawEvery);
    this.saving ??= setTimeout(() => {
      this.saving = null;
      void saveConversation(this.asked);
    }, kSaveEvery);
  }
}

// Draws what the answer has, and keeps the end in sight if it was.
function drawLive() {
  const page = document.scrollingElement;
  const follows = page.scrollHeight - page.scrollTop - page.clientHeight < 80;
  elementOf(running.message).answer.update(true, true);
  showTotals();
  if (follows) page.scrollTop = page.scrollHeight;
}

// The elements of messages, so that a thought that a person has opened stays open, and the focus stays where it is.
const elements = new WeakMap();

function elementOf(message) {
  let known = elements.get(message);
  if (!known) {
    const answer = message.role === "assistant" ? new AnswerElement(message, { regenerate }) : null;
    const element = answer?.element ?? userElement(message, {
      mayEdit: () => !running && !isBusyElsewhere(),
      edit: (text) => edit(conversation.messages.indexOf(message), text),
    });
    known = { item: el("li", {}, element), answer };
    elements.set(message, known);
  }
  return known;
}

// Makes `list` have these children and leaves those in place that it has already.
function setChildren(list, children) {
  children.forEach((child, i) => {
    if (list.children[i] !== child) list.insertBefore(child, list.children[i] ?? null);
  });
  while (list.children.length > children.length) list.lastElementChild.remove();
}

export function showConversation() {
  const { messages } = conversation;
  byId("chat-title").textContent = conversation.title || "New conversation";
  byId("empty").hidden = messages.length > 0;
  setChildren(byId("messages"), messages.map((message, index) => {
    const { item, answer } = elementOf(message);
    const isLast = index === messages.length - 1;
    answer?.update(running?.message === message, isLast);
    if (message.needsKey && isLast) answer.notice.append(" ", button("Open the settings", () => openSettings("key")));
    return item;
  }));
  byId("send").hidden = running !== null;
  byId("stop").hidden = running === null;
  showTotals();
  if (running) document.scrollingElement.scrollTop = document.scrollingElement.scrollHeight;
}

// Shows the tokens and the time that the conversation has used so far.
function showTotals() {
  let tokens = 0, prompt = 0, seconds = 0;
  for (const { stats } of conversation.messages) {
    tokens += stats?.tokens ?? 0;
    prompt += stats?.prompt ?? 0;
    seconds += stats?.seconds ?? 0;
  }
  const parts = [];
  const speed = running ? speedOf(running.message.stats) : 0;
  if (speed) parts.push(`${speed.toFixed(speed < 10 ? 1 : 0)} tokens/s`);
  if (tokens) parts.push(`This conversation: ${tokens} tokens generated, ${prompt} read`);
  if (tokens && costOf(seconds)) parts.push(costOf(seconds));
  byId("totals").textContent = parts.join(" · ");
}
