// Conversations in the browser's IndexedDB. Where a browser has none (some private windows), they live as long as the
// page, and isLasting() says so.
//
// A conversation: {id, title, created, updated, messages: [message]}
// A message:      {role: "user" | "assistant", content, and for an answer: reasoning, model, seed, state, finish, notice,
//                  stats: {seconds, thought, first, tokens, prompt, cached, reasoning}}
//                 state is "running", "done", "stopped" or "failed".

import { onDeleted, tellDeleted, tellSaved, writtenElsewhere } from "./tabs.js";

const kName = "r1", kConversations = "conversations";
const memory = new Map();
const deleted = new Set();  // by this tab or another: an answer that goes on does not bring them back
let database = null;
let lasting = true;

function open() {
  database ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(kName, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(kConversations, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
  return database;
}

async function run(mode, use) {
  const store = (await open()).transaction(kConversations, mode).objectStore(kConversations);
  return new Promise((resolve, reject) => {
    const request = use(store);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

// Uses the database, or the page's memory once that has failed.
async function either(mode, use, fallback) {
  if (lasting) {
    try {
      return await run(mode, use);
    } catch {
      lasting = false;
    }
  }
  return fallback();
}

export const isLasting = () => lasting;

export async function allConversations() {
  const all = await either("readonly", (store) => store.getAll(), () => [...memory.values()]);
  return all.sort((a, b) => b.updated - a.updated);
}

// Returns undefined if there is no such conversation.
export const findConversation = (id) => either("readonly", (store) => store.get(id), () => memory.get(id));

export async function saveConversation(conversation) {
  if (deleted.has(conversation.id)) return;
  const copy = structuredClone(conversation);
  memory.set(copy.id, copy);
  await either("readwrite", (store) => store.put(copy), () => {});
  if (lasting) tellSaved(copy.id);
}

export async function deleteConversation(id) {
  deleted.add(id);
  memory.delete(id);
  await either("readwrite", (store) => store.delete(id), () => {});
  if (lasting) tellDeleted(id);
}

onDeleted((id) => {
  deleted.add(id);
  memory.delete(id);
});

// An answer that was being written when its page was closed has ended with it. Those that other tabs are writing go on.
export async function endInterrupted(conversations) {
  const isCut = (message) => message.state === "running";
  let cut = conversations.filter(({ messages }) => messages.some(isCut));
  if (cut.length === 0) return;
  const elsewhere = await writtenElsewhere();
  cut = cut.filter(({ id }) => !elsewhere.has(id));
  for (const conversation of cut) {
    // It may have come to its end meanwhile.
    Object.assign(conversation, await findConversation(conversation.id));
    for (const message of conversation.messages.filter(isCut)) {
      message.state = "failed";
      message.notice = "The page was closed before the answer was complete. What came is kept.";
    }
    await saveConversation(conversation);
  }
}

export function newConversation() {
  const now = Date.now();
  return { id: crypto.randomUUID?.() ?? `${now}-${Math.random()}`, title: "", created: now, updated: now, messages: [] };
}

// A file of conversations, as "Export" writes it.
const kFormat = "r1-conversations", kVersion = 1;

export function exportText(conversations) {
  return JSON.stringify({ format: kFormat, version: kVersion, conversations }, null, 1);
}

// Reads such a file. Throws Error with a sentence that says what is wrong with it.
export function importConversations(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error("The file is not JSON.");
  }
  if (file?.format !== kFormat || !Array.isArray(file.conversations))
    throw new Error("The file has no conversations of r1: its format must be \"r1-conversations\".");
  if (file.version !== kVersion) throw new Error(`The file's version is ${file.version}; it must be ${kVersion}.`);
  return file.conversations.map(readConversation);
}

function readConversation(from, index) {
  const fail = (why) => new Error(`Conversation ${index + 1} of the file ${why}.`);
  if (!Array.isArray(from?.messages)) throw fail("has no list of messages");
  const messages = from.messages.map((message, at) => {
    const isAnswer = message?.role === "assistant";
    if (!isAnswer && message?.role !== "user") throw fail(`has a message (number ${at + 1}) of an unknown role`);
    if (typeof message.content !== "string") throw fail(`has a message (number ${at + 1}) without content`);
    return isAnswer ? readAnswer(message) : { role: "user", content: message.content };
  });
  const time = (value) => (Number.isFinite(value) ? value : Date.now());
  return {
    ...newConversation(),
    title: typeof from.title === "string" ? from.title : "",
    created: time(from.created),
    updated: time(from.updated),
    messages,
  };
}

function readAnswer(message) {
  const text = (value) => (typeof value === "string" ? value : "");
  const stats = {};
  for (const [key, value] of Object.entries(message.stats ?? {})) {
    if (Number.isFinite(value)) stats[key] = value;
  }
  const state = ["done", "stopped", "failed"].includes(message.state) ? message.state : "done";
  return {
    role: "assistant", content: message.content, reasoning: text(message.reasoning), model: text(message.model),
    seed: Number.isFinite(message.seed) ? message.seed : undefined, state, finish: text(message.finish),
    notice: text(message.notice), stats,
  };
}
