// The list of conversations: open, rename, delete, export, import.
import { el, button, byId, announce } from "./dom.js";
import { allConversations, deleteConversation, exportText, importConversations, isLasting, newConversation,
         saveConversation } from "./store.js";
import { openConversation, show } from "./chat.js";
import { onDeleted, onSaved } from "./tabs.js";

const isDrawer = () => matchMedia("(max-width: 760px)").matches;

export function startSidebar() {
  byId("menu").addEventListener("click", () => setOpen(byId("menu").getAttribute("aria-expanded") !== "true"));
  byId("new-conversation").addEventListener("click", () => {
    location.hash = "#chat";
    show(newConversation());
    void showList();
    setOpen(false);
    byId("message").focus();
  });
  byId("export-all").addEventListener("click", async () => download(await allConversations(), "r1-conversations"));
  onSaved((id, isWriting) => isWriting || showChangedList());
  onDeleted(showChangedList);
  const file = byId("import-file");
  byId("import").addEventListener("click", () => file.click());
  file.addEventListener("change", () => void importFile(file));
  byId("sidebar").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && isDrawer() && !event.defaultPrevented) {
      event.preventDefault();
      setOpen(false);
      byId("menu").focus();
    }
  });
}

// On a phone the list lies over the page.
function setOpen(open) {
  byId("menu").setAttribute("aria-expanded", String(open));
  byId("sidebar").classList.toggle("open", open);
  if (open) byId("new-conversation").focus();
}

export async function showList() {
  const conversations = await allConversations();
  const current = openConversation().id;
  byId("conversation-list").replaceChildren(...conversations.map((one) => itemOf(one, one.id === current)));
  byId("export-all").disabled = conversations.length === 0;
  if (!isLasting())
    byId("sidebar").lastElementChild.textContent =
      "This browser keeps no conversations: they are lost when the page is closed.";
}

// Another tab has changed the list. A person who is in the middle of an action here is not interrupted.
function showChangedList() {
  if (!byId("conversation-list").querySelector("input, .question, details[open]")) void showList();
}

function itemOf(conversation, isOpen) {
  const title = conversation.title || "Without a title";
  const item = el("li", { class: isOpen ? "open" : "" });
  const open = button(title, () => {
    location.hash = "#chat";
    if (openConversation().id !== conversation.id) show(conversation);
    void showList();
    setOpen(false);
  }, { class: "open-button", "aria-current": isOpen ? "true" : undefined, title });
  const more = el("details", { class: "more" },
    el("summary", { "aria-label": `Actions of ${title}`, title: "Actions" }, "⋯"),
    el("div", { class: "menu" },
      button("Rename", () => rename(item, conversation)),
      button("Export", () => download([conversation], `r1-${title}`)),
      button("Delete", () => confirmDelete(item, conversation, isOpen))));
  more.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !more.open) return;
    event.preventDefault();
    more.open = false;
    more.firstElementChild.focus();
  });
  item.replaceChildren(open, more);
  return item;
}

function rename(item, conversation) {
  const name = el("input", { value: conversation.title, "aria-label": "Name of the conversation", maxlength: 200 });
  let done = false;
  const finish = async (isKept) => {
    if (done) return;
    done = true;
    const title = name.value.trim();
    if (isKept && title) {
      // The open conversation is the object that the chat saves.
      const target = openConversation().id === conversation.id ? openConversation() : conversation;
      target.title = title;
      await saveConversation(target);
      if (target === openConversation()) byId("chat-title").textContent = title;
    }
    await showList();
    byId("new-conversation").focus();
  };
  name.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    void finish(event.key === "Enter");
  });
  name.addEventListener("blur", () => void finish(true));
  item.replaceChildren(name);
  name.select();
  name.focus();
}

function confirmDelete(item, conversation, isOpen) {
  const yes = button("Delete", async () => {
    if (isOpen) show(newConversation());
    await deleteConversation(conversation.id);
    announce("The conversation is deleted.");
    await showList();
    byId("new-conversation").focus();
  }, { class: "danger" });
  item.replaceChildren(el("span", { class: "question" }, `Delete “${conversation.title || "Without a title"}”?`), yes,
    button("Keep", () => void showList()));
  yes.focus();
}

function download(conversations, name) {
  const url = URL.createObjectURL(new Blob([exportText(conversations)], { type: "application/json" }));
  const file = `${name.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "r1"}.json`;
  el("a", { href: url, download: file }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  announce(`The file ${file} is saved.`);
}

async function importFile(input) {
  const file = input.files[0];
  input.value = "";
  if (!file) return;
  const say = (text) => {
    announce(text);
    const note = el("p", { class: "notice", role: "alert" }, text);
    byId("conversation-list").before(note);
    setTimeout(() => note.remove(), 15000);
  };
  try {
    const conversations = importConversations(await file.text());
    for (const conversation of conversations) await saveConversation(conversation);
    say(conversations.length === 1 ? "One conversation was imported." : `${conversations.length} conversations were imported.`);
    await showList();
  } catch (error) {
    say(`${file.name}: ${error.message}`);
  }
}
