"use strict";
// Elements and texts. The report is drawn from the JSON in the page; texts of the catalog are only ever
// set as text nodes. The files of this script are put one behind the other, in the order of their numbers.

const content = JSON.parse(document.getElementById("content").textContent);
const checks = new Map(content.checks.map((check) => [check.id, check]));
const letters = Object.keys(content.severities); // the worst first
const MAX_BARS_LABELLED = 90; // pixels for a label on the time axis

// An element with its attributes, which may be left out, and its children.
function element(name, ...parts) {
  return filled(document.createElement(name), parts);
}

function drawn(name, ...parts) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), parts);
}

function filled(made, parts) {
  const [attributes, ...children] = parts[0]?.constructor === Object ? parts : [{}, ...parts];
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function button(title, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, title);
}

// A sentence with `code` in it.
function sentence(words) {
  const parts = words.split("`").map((part, at) => (at % 2 ? element("code", part) : part));
  return element("span", ...parts);
}

function titleOf(check) {
  const title = checks.get(check)?.title || check;
  return title[0].toUpperCase() + title.slice(1);
}

function quiet(words) {
  return element("p", { class: "quiet" }, words);
}

function count(n) {
  return n === null ? "" : n.toLocaleString("en").replaceAll(",", "\u202f");
}

function counted(n, noun) {
  return `${count(n)} ${n === 1 ? noun : plural(noun)}`;
}

function plural(noun) {
  return noun.endsWith("class") ? `${noun}es` : `${noun}s`;
}

function short(n) {
  if (n < 1000) return String(n);
  return n < 1e6 ? `${trimmed(n / 1e3)}k` : `${trimmed(n / 1e6)}M`;
}

// A name that may be broken after its separators.
function breakable(name) {
  const parts = name.split(/(?<=[/:_.,-])/);
  return element("span", ...parts.flatMap((part, at) => (at ? [element("wbr"), part] : [part])));
}

function trimmed(n) {
  return n >= 10 ? String(Math.floor(n)) : n.toFixed(1).replace(".0", "");
}

function size(bytes) {
  if (bytes === null) return "";
  const units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
  let at = 0;
  while (Math.abs(bytes) >= 999.95 && at < units.length - 1) [bytes, at] = [bytes / 1000, at + 1];
  return at ? `${bytes.toFixed(1)} ${units[at]}` : `${bytes} B`;
}

// Never rounded up to 100 or down to 0: what is incomplete says so.
function percent(part, whole) {
  if (!whole) return "–";
  const share = (part / whole) * 100;
  return share > 0 && share < 0.1 ? "<0.1 %" : `${(Math.floor(share * 10 + 1e-9) / 10).toFixed(1)} %`;
}

function day(time) {
  return time ? time.slice(0, 10) : "";
}

function moment(time) {
  return time ? `${time.slice(0, 16).replace("T", " ")} UTC` : "not recorded";
}

function rowsOf(table) {
  return table.rows.map((row) => Object.fromEntries(table.columns.map((name, at) => [name, row[at]])));
}

function searchField(label, search) {
  return element("input", {
    type: "search",
    placeholder: "Filter: all of these words",
    "aria-label": label,
    oninput: (event) => search(event.target.value.toLowerCase().split(/\s+/).filter(Boolean)),
  });
}

function addressOf(run) {
  return `#run=${encodeURIComponent(run)}`;
}

function runLink(run) {
  return run && Object.hasOwn(content.details, run) ? element("a", { href: addressOf(run) }, run) : (run ?? "");
}

const outside = "(outside a facility tree)";

// A link to what the page says of an instrument or a proposal.
function detailLink(kind, name, shown) {
  return element("a", { href: `#${kind}=${encodeURIComponent(name)}` }, shown);
}

function proposalLink(number) {
  const name = proposalName(number);
  if (number === null || !content.links.pages) return detailLink("proposal", name, name);
  return element("a", { href: `${name}.html` }, name);
}

function proposalName(number) {
  return number === null ? outside : `p${String(number).padStart(6, "0")}`;
}

function severityMark(letter, waived) {
  const name = content.severities[letter] ?? letter;
  return waived
    ? element("span", { title: `waived: ${waived}` }, `${name}, waived`)
    : element("span", { class: `severity ${letter}` }, name);
}
