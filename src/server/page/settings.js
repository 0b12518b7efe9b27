// Settings of this browser, and the dialog that changes them.
import { byId, el, button, announce } from "./dom.js";

const kKey = "r1-settings";
const kDefaults = {
  system: "", temperature: "", top_p: "", seed: "", max_tokens: "", effort: "", max_thinking_tokens: "",
  price: "", currency: "$", theme: "auto", key: "",
};

let current = { ...kDefaults };
const listeners = [];

export const settings = () => current;
export const onSettings = (call) => listeners.push(call);

export function loadSettings() {
  try {
    const saved = JSON.parse(localStorage.getItem(kKey) ?? "{}");
    for (const name of Object.keys(kDefaults)) {
      if (typeof saved[name] === "string") current[name] = saved[name];
    }
  } catch {
    current = { ...kDefaults };  // nothing is saved, or something that this page did not write
  }
  applyTheme();
}

function applyTheme() {
  document.documentElement.dataset.theme = current.theme;
}

// The fields of a request. A field that is empty is left to the model's own default.
export function requestFields() {
  const fields = {};
  for (const name of ["temperature", "top_p", "seed", "max_tokens", "max_thinking_tokens"]) {
    if (current[name] !== "") fields[name] = Number(current[name]);
  }
  if (current.effort) fields.reasoning_effort = current.effort;
  return fields;
}

// Returns the price of a time of the machine, or "" if no price is set.
export function costOf(seconds) {
  if (current.price === "") return "";
  const cost = (Number(current.price) * seconds) / 3600;
  return `${current.currency}${cost >= 0.01 || cost === 0 ? cost.toFixed(2) : cost.toPrecision(2)}`;
}

const kNumbers = [
  ["temperature", "Temperature", { min: 0, max: 10, step: "any" }, "0 always takes the likeliest token."],
  ["top_p", "Top p", { min: 0, max: 1, step: "any" }, "The share of the likeliest tokens that are drawn from."],
  ["seed", "Seed", { min: 0, step: 1 }, "The same seed gives the same answer again."],
  ["max_tokens", "Most tokens of an answer", { min: 1, step: 1 }, "The thought counts, too."],
  ["max_thinking_tokens", "Most tokens of a thought", { min: 0, step: 1 }, "0 answers without thinking."],
];
const kEfforts = ["", "none", "minimal", "low", "medium", "high", "xhigh", "max"];

function field(label, control, help) {
  const id = `setting-${control.name}`;
  control.id = id;
  if (help) control.setAttribute("aria-describedby", `${id}-help`);
  return el("div", { class: "field" }, el("label", { for: id }, label), control,
    help ? el("p", { id: `${id}-help`, class: "muted small" }, help) : null);
}

const select = (name, options) =>
  el("select", { name }, ...options.map(([value, text]) =>
    el("option", { value, selected: current[name] === value }, text)));

export function openSettings(focusOn) {
  const dialog = byId("settings");
  const system = el("textarea", { name: "system", rows: 3 });
  system.value = current.system;
  const form = el("form", { onsubmit: save },
    el("h2", { id: "settings-title" }, "Settings"),
    el("p", { class: "muted small" }, "An empty field means the model's own default."),
    field("System prompt", system),
    el("div", { class: "columns" },
      ...kNumbers.map(([name, label, limits, help]) =>
        field(label, el("input", { name, type: "number", inputmode: "decimal", value: current[name], ...limits }), help)),
      field("Effort of thinking", select("effort", kEfforts.map((effort) => [effort, effort || "not limited"])),
        "A share of the answer's tokens that the thought may have.")),
    el("div", { class: "columns" },
      field("Price of a machine hour",
        el("input", { name: "price", type: "number", min: 0, step: "any", inputmode: "decimal", value: current.price }),
        "Each answer then shows its cost: its seconds at this price."),
      field("Currency", el("input", { name: "currency", value: current.currency, maxlength: 8 })),
      field("Colours", select("theme", [["auto", "as the system's"], ["light", "light"], ["dark", "dark"]]))),
    field("API key", el("input", { name: "key", type: "password", value: current.key, autocomplete: "off" }),
      "Only needed if the server was started with --api-key-file. It is kept in this browser."),
    el("div", { class: "row end" }, button("Cancel", () => dialog.close()),
      el("button", { type: "submit", class: "main-button" }, "Save")));
  dialog.replaceChildren(form);
  dialog.showModal();
  if (focusOn) form.elements[focusOn].focus();
}

function save(event) {
  event.preventDefault();
  const form = event.currentTarget;
  for (const name of Object.keys(kDefaults)) {
    current[name] = form.elements[name].value.trim();
  }
  try {
    localStorage.setItem(kKey, JSON.stringify(current));
    announce("The settings are saved.");
  } catch {
    announce("The browser does not keep the settings: they are lost when the page is closed.");
  }
  applyTheme();
  byId("settings").close();
  for (const call of listeners) call();
}
