// Markdown of answers as DOM nodes. A model's text is untrusted: nothing here makes HTML of a string, links lead to
// http, https and mailto alone, and pictures are shown as links, so that reading an answer asks no other server.
//
// It knows headings, paragraphs, emphasis, code, lists, quotes, tables, rules, links, and formulas between $, $$,
// \( \) and \[ \]. It differs from CommonMark where models do: a single line end is a line break, and a * between two
// characters of an expression (2*3*4) is a product.
import { el, button, copyText } from "./dom.js";
import { mathNode } from "./math.js";

const kDeepest = 10;  // nested lists, quotes and emphasis

// Shows `text` in `container`, which this function fills alone. Blocks that have not changed keep their elements, so
// that a text that grows is drawn once, and a selection in it stays.
export function showMarkdown(container, text) {
  const blocks = splitBlocks(text);
  const shown = container.markdownBlocks ?? [];
  let same = 0;
  while (same < shown.length && same < blocks.length && shown[same] === blocks[same]) ++same;
  while (container.childNodes.length > same) container.lastChild.remove();
  for (const block of blocks.slice(same)) container.append(drawBlock(block, 0));
  container.markdownBlocks = blocks;
}

const kFence = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const kHeading = /^ {0,3}(#{1,6})\s+(.*?)(?:\s+#+)?\s*$/;
const kRule = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const kItem = /^( {0,3})([-*+]|\d{1,9}[.)])(\s+|$)/;
const kQuote = /^ {0,3}> ?/;
const kTableRule = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const kDisplay = [["$$", "$$"], ["\\[", "\\]"]];

const isBlank = (line) => line.trim() === "";

// Cuts a text into the sources of its blocks.
export function splitBlocks(text) {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  const blocks = [];
  for (let at = 0; at < lines.length;) {
    if (isBlank(lines[at])) {
      ++at;
      continue;
    }
    const end = blockEnd(lines, at);
    blocks.push(lines.slice(at, end).join("\n"));
    at = end;
  }
  return blocks;
}

function isTableAt(lines, at) {
  return at + 1 < lines.length && lines[at].includes("|") && lines[at + 1].includes("-") && kTableRule.test(lines[at + 1]);
}

// True if a line begins a block even right after a paragraph.
function interrupts(lines, at) {
  const line = lines[at];
  return isBlank(line) || kFence.test(line) || kHeading.test(line) || kRule.test(line) || kQuote.test(line) ||
    kItem.test(line) || isTableAt(lines, at) || kDisplay.some(([open]) => line.trimStart().startsWith(open));
}

// Returns the line after the block that begins at line `at`.
function blockEnd(lines, at) {
  const first = lines[at];
  const fence = kFence.exec(first);
  if (fence) return fenceEnd(lines, at, fence[1]);
  for (const [open, close] of kDisplay) {
    if (!first.trimStart().startsWith(open)) continue;
    const rest = first.trimStart().slice(open.length);
    if (rest.includes(close)) return rest.trimEnd().endsWith(close) ? at + 1 : paragraphEnd(lines, at);
    for (let end = at + 1; end < lines.length; ++end) {
      if (lines[end].includes(close)) return end + 1;
    }
    return paragraphEnd(lines, at);
  }
  if (kHeading.test(first) || kRule.test(first)) return at + 1;
  if (kQuote.test(first)) {
    let end = at + 1;
    while (end < lines.length && kQuote.test(lines[end])) ++end;
    return end;
  }
  if (kItem.test(first)) return listEnd(lines, at);
  if (isTableAt(lines, at)) {
    let end = at + 2;
    while (end < lines.length && lines[end].includes("|")) ++end;
    return end;
  }
  return paragraphEnd(lines, at);
}

function fenceEnd(lines, at, mark) {
  const close = new RegExp(`^ {0,3}${mark[0] === "`" ? "`" : "~"}{${mark.length},}\\s*$`);
  for (let end = at + 1; end < lines.length; ++end) {
    if (close.test(lines[end])) return end + 1;
  }
  return lines.length;  // not closed yet
}

function paragraphEnd(lines, at) {
  let end = at + 1;
  while (end < lines.length && !interrupts(lines, end)) ++end;
  return end;
}

// A list goes on over blank lines if an item or an indented line follows.
function listEnd(lines, at) {
  const isOrdered = /\d/.test(kItem.exec(lines[at])[2]);
  let end = at + 1;
  while (end < lines.length) {
    const line = lines[end];
    const item = kItem.exec(line);
    if (isBlank(line)) {
      const next = lines[end + 1];
      if (next === undefined || isBlank(next)) break;
      const nextItem = kItem.exec(next);
      if (!/^\s{2,}/.test(next) && !(nextItem && /\d/.test(nextItem[2]) === isOrdered)) break;
    } else if (!/^\s/.test(line) && !item && interrupts(lines, end)) {
      break;
    } else if (item && item[1].length === 0 && /\d/.test(item[2]) !== isOrdered) {
      break;
    }
    ++end;
  }
  return end;
}

function drawBlock(source, depth) {
  const lines = source.split("\n");
  const first = lines[0];
  const fence = kFence.exec(first);
  if (fence) return drawCode(lines, fence);
  const formula = displayFormula(source);
  if (formula) return formula;
  const heading = kHeading.exec(first);
  if (heading && lines.length === 1) {
    // The page has h1, and an answer its own h2.
    return el(`h${Math.min(6, heading[1].length + 2)}`, {}, ...inline(heading[2], depth));
  }
  if (kRule.test(first) && lines.length === 1) return el("hr");
  if (depth < kDeepest) {
    if (kQuote.test(first))
      return el("blockquote", {}, ...drawAll(lines.map((line) => line.replace(kQuote, "")).join("\n"), depth + 1));
    if (kItem.test(first)) return drawList(lines, depth);
  }
  if (isTableAt(lines, 0)) return drawTable(lines, depth);
  return el("p", {}, ...inline(source, depth));
}

const drawAll = (text, depth) => splitBlocks(text).map((block) => drawBlock(block, depth));

function displayFormula(source) {
  const text = source.trim();
  for (const [open, close] of kDisplay) {
    if (text.startsWith(open) && text.endsWith(close) && text.length >= open.length + close.length) {
      const tex = text.slice(open.length, -close.length);
      if (!tex.includes(close)) return mathNode(tex.trim(), true, text);
    }
  }
  return null;
}

function drawCode(lines, fence) {
  const isClosed = lines.length > 1 && new RegExp(`^ {0,3}${fence[1][0]}{${fence[1].length},}\\s*$`).test(lines.at(-1));
  const code = lines.slice(1, isClosed ? -1 : undefined).join("\n");
  const language = fence[2].trim().split(/\s/)[0].slice(0, 30);
  return el("div", { class: "code" },
    el("div", { class: "bar" }, el("span", { class: "muted" }, language || "text"),
      button("Copy", (event) => copyText(code, event.currentTarget), { "aria-label": `Copy the ${language} code` })),
    el("pre", { tabindex: 0, role: "group", "aria-label": `Code, ${language || "text"}` }, el("code", {}, code)));
}

function drawList(lines, depth) {
  const start = kItem.exec(lines[0]);
  const isOrdered = /\d/.test(start[2]);
  const items = [];
  let width = 0;
  for (const line of lines) {
    const item = kItem.exec(line);
    // A deeper item belongs to the one above it.
    if (item && (items.length === 0 || item[1].length < width)) {
      width = item[1].length + item[2].length + Math.min(Math.max(item[3].length, 1), 4);
      items.push([line.slice(item[0].length)]);
    } else {
      const indent = line.length - line.trimStart().length;
      items.at(-1).push(line.slice(Math.min(indent, width)));
    }
  }
  const number = Number.parseInt(start[2], 10);
  return el(isOrdered ? "ol" : "ul", isOrdered && number !== 1 ? { start: number } : {},
    ...items.map((item) => {
      const blocks = splitBlocks(item.join("\n"));
      // A tight item's first paragraph needs no element of its own.
      const isPlain = blocks.length > 0 && !interrupts(blocks[0].split("\n"), 0);
      return el("li", {}, ...(isPlain ? inline(blocks[0], depth + 1) : []),
        ...blocks.slice(isPlain ? 1 : 0).map((block) => drawBlock(block, depth + 1)));
    }));
}

function cellsOf(line) {
  const cells = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "").split(/(?<!\\)\|/);
  return cells.map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function drawTable(lines, depth) {
  const names = cellsOf(lines[0]);
  const sides = cellsOf(lines[1]).map((rule) =>
    rule.endsWith(":") ? (rule.startsWith(":") ? "centre" : "right") : undefined);
  const cells = (tag, line) => {
    const given = cellsOf(line);
    return names.map((_, i) =>
      el(tag, { class: sides[i], scope: tag === "th" ? "col" : undefined }, ...inline(given[i] ?? "", depth + 1)));
  };
  return el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Table" },
    el("table", {}, el("thead", {}, el("tr", {}, ...cells("th", lines[0]))),
      el("tbody", {}, ...lines.slice(2).map((line) => el("tr", {}, ...cells("td", line))))));
}

// Inline text.
const kEscaped = /[!-/:-@[-`{-~]/;
const isWordly = (c) => c !== undefined && /[\p{L}\p{N})\]]/u.test(c);
const opensWordly = (c) => c !== undefined && /[\p{L}\p{N}([]/u.test(c);
const isSpace = (c) => c === undefined || /\s/.test(c);
const kPlain = /[^\\`$*_~[!<h\n]+/y;
const kUrl = /https?:\/\/[^\s<>"`]+/y;
const kAutolink = /<((?:https?:\/\/|mailto:)[^\s<>]+)>/y;
const kLongestLabel = 2000;

function safeHref(text) {
  try {
    const url = new URL(text);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

const link = (href, ...children) => el("a", { href, target: "_blank", rel: "noopener noreferrer" }, ...children);

function match(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

// Returns the nodes of a piece of text within one block.
export function inline(text, depth = 0) {
  const nodes = [];
  const hopeless = new Set();  // marks that no mark closes from here on: each is searched once
  let plain = "";
  const flush = () => {
    if (plain) nodes.push(document.createTextNode(plain));
    plain = "";
  };
  for (let at = 0; at < text.length;) {
    const run = match(kPlain, text, at);
    if (run) {
      plain += run[0];
      at += run[0].length;
      continue;
    }
    const piece = text[at] === "\n" ? { node: el("br"), end: at + 1 } : special(text, at, depth, hopeless);
    if (piece?.text !== undefined) {
      plain += piece.text;
      at = piece.end;
    } else if (piece) {
      if (text[at] === "\n") plain = plain.trimEnd();
      flush();
      nodes.push(piece.node);
      at = piece.end;
    } else {
      plain += text[at++];
    }
  }
  flush();
  return nodes;
}

// Returns {node, end} or {text, end} for what begins at text[at], or null if that is a character like others.
function special(text, at, depth, hopeless) {
  switch (text[at]) {
    case "\\": return formulaBetween(text, at, "\\(", "\\)", false, hopeless) ??
      formulaBetween(text, at, "\\[", "\\]", true, hopeless) ??
      (kEscaped.test(text[at + 1] ?? "") ? { text: text[at + 1], end: at + 2 } : null);
    case "`": return codeSpan(text, at, hopeless);
    case "$": return formulaBetween(text, at, "$$", "$$", true, hopeless) ?? dollarFormula(text, at, hopeless);
    case "!": return text[at + 1] === "[" ? bracketLink(text, at + 1, depth, true) : null;
    case "[": return bracketLink(text, at, depth, false);
    case "<": {
      const found = match(kAutolink, text, at);
      const href = found && safeHref(found[1]);
      return href ? { node: link(href, found[1]), end: at + found[0].length } : null;
    }
    case "h": return bareUrl(text, at);
    case "~": return text.startsWith("~~", at) ? emphasis(text, at, "~~", "del", depth, hopeless) : null;
    default: return text[at] === text[at + 1]
      ? emphasis(text, at, text[at].repeat(2), "strong", depth, hopeless) ?? { text: text[at].repeat(2), end: at + 2 }
      : emphasis(text, at, text[at], "em", depth, hopeless);
  }
}

function closerOf(text, from, close, hopeless) {
  if (hopeless.has(close)) return -1;
  const end = text.indexOf(close, from);
  if (end < 0) hopeless.add(close);
  return end;
}

function formulaBetween(text, at, open, close, isDisplay, hopeless) {
  if (!text.startsWith(open, at)) return null;
  const end = closerOf(text, at + open.length, close, hopeless);
  if (end <= at + open.length) return null;
  const source = text.slice(at, end + close.length);
  return { node: mathNode(text.slice(at + open.length, end).trim(), isDisplay, source), end: end + close.length };
}

// $x$: no space inside next to the dollars, and no digit after them, so that "$5 and $6" stays money.
function dollarFormula(text, at, hopeless) {
  if (isSpace(text[at + 1]) || hopeless.has("$")) return null;
  for (let end = text.indexOf("$", at + 1); end >= 0; end = text.indexOf("$", end + 1)) {
    if (text[end - 1] === "\\") continue;
    if (isSpace(text[end - 1]) || /\d/.test(text[end + 1] ?? "")) return null;
    return { node: mathNode(text.slice(at + 1, end), false, text.slice(at, end + 1)), end: end + 1 };
  }
  hopeless.add("$");
  return null;
}

function codeSpan(text, at, hopeless) {
  const mark = /`+/y;
  mark.lastIndex = at;
  const ticks = mark.exec(text)[0];
  const key = `code${ticks.length}`;
  const failed = { text: ticks, end: at + ticks.length };
  if (hopeless.has(key)) return failed;
  const pattern = new RegExp(`(?<!\`)\`{${ticks.length}}(?!\`)`, "g");
  pattern.lastIndex = at + ticks.length;
  const close = pattern.exec(text);
  if (!close) {
    hopeless.add(key);
    return failed;
  }
  const code = text.slice(at + ticks.length, close.index).replaceAll("\n", " ");
  const isPadded = code.startsWith(" ") && code.endsWith(" ") && code.trim() !== "";
  return { node: el("code", {}, isPadded ? code.slice(1, -1) : code), end: close.index + ticks.length };
}

function bareUrl(text, at) {
  if (at > 0 && /[\p{L}\p{N}]/u.test(text[at - 1])) return null;
  const found = match(kUrl, text, at);
  if (!found) return null;
  let url = found[0].replace(/[.,;:!?'"*_~]+$/, "");
  if (url.endsWith(")") && !url.includes("(")) url = url.slice(0, -1);
  const href = safeHref(url);
  return href ? { node: link(href, url), end: at + url.length } : null;
}

// [label](address "title"), and pictures, which become links to them.
function bracketLink(text, at, depth, isPicture) {
  let open = 0, end = at;
  for (; end < text.length && end - at < kLongestLabel; ++end) {
    if (text[end] === "\\") ++end;
    else if (text[end] === "[") ++open;
    else if (text[end] === "]" && --open === 0) break;
  }
  if (text[end] !== "]" || text[end + 1] !== "(") return null;
  const target = /\(\s*<?([^\s<>()]*(?:\([^\s<>()]*\)[^\s<>()]*)*)>?(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/y;
  target.lastIndex = end + 1;
  const found = target.exec(text);
  const href = found && safeHref(found[1]);
  if (!href) return null;
  const label = text.slice(at + 1, end);
  const children = isPicture ? [`Picture: ${label || href}`] : depth < kDeepest ? inline(label, depth + 1) : [label];
  return { node: link(href, ...children), end: target.lastIndex };
}

function emphasis(text, at, mark, tag, depth, hopeless) {
  const isUnderscore = mark[0] === "_";
  const before = text[at - 1], after = text[at + mark.length];
  if (depth >= kDeepest || isSpace(after) || hopeless.has(mark)) return null;
  // 2*3 and snake_case are no emphasis.
  if (isWordly(before) && opensWordly(after) && (isUnderscore || mark === "*")) return null;
  for (let end = text.indexOf(mark, at + mark.length); end >= 0; end = text.indexOf(mark, end + mark.length)) {
    const inside = text[end - 1], outside = text[end + mark.length];
    if (end === at + mark.length || isSpace(inside) || inside === "\\") continue;
    if (mark.length === 1 && (outside === mark || inside === mark)) {
      end += outside === mark ? 1 : 0;  // ** belongs to a strong part inside
      continue;
    }
    if (isWordly(inside) && opensWordly(outside) && mark.length === 1) continue;
    const close = mark.length === 2 && outside === mark[0] ? end + 1 : end;  // ***x***
    return { node: el(tag, {}, ...inline(text.slice(at + mark.length, close), depth + 1)), end: close + mark.length };
  }
  hopeless.add(mark);
  return null;
}
