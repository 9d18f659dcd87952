"use strict";
// Draws the report from the JSON in the page. Texts of the catalog are only ever set as text nodes.

const content = JSON.parse(document.getElementById("content").textContent);
const checks = new Map(content.checks.map((check) => [check.id, check]));
const MAX_BARS_LABELLED = 90; // pixels for a label on the time axis

// ---- elements and texts

function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function count(n) {
  return n === null ? "" : n.toLocaleString("en").replaceAll(",", "\u202f");
}

function counted(n, noun) {
  return `${count(n)} ${n === 1 ? noun : plural(noun)}`;
}

function plural(noun) {
  return noun.endsWith("class") ? `${noun}es` : noun.startsWith("kind ") ? "kinds of findings" : `${noun}s`;
}

function short(n) {
  if (n < 1000) return String(n);
  return n < 1e6 ? `${trimmed(n / 1e3)}k` : `${trimmed(n / 1e6)}M`;
}

// A name that may be broken after its separators.
function breakable(name) {
  const parts = name.split(/(?<=[/:_.,-])/);
  return element("span", {}, ...parts.flatMap((part, at) => (at ? [element("wbr"), part] : [part])));
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

function addressOf(run) {
  return `#run=${encodeURIComponent(run)}`;
}

function runLink(run) {
  return run && Object.hasOwn(content.details, run) ? element("a", { href: addressOf(run) }, run) : run ?? "";
}

function proposalName(number) {
  return number === null ? "(outside a facility tree)" : `p${String(number).padStart(6, "0")}`;
}

function severityMark(letter, waived) {
  const name = content.severities[letter] ?? letter;
  return waived ? element("span", { title: `waived: ${waived}` }, `${name}, waived`) : element("span", { class: `severity ${letter}` }, name);
}

// ---- tables that sort, filter and unfold
// A column: {title, value: row => what sorts and filters, show: row => text or element, kind}.

function makeTable(rows, columns, { ofAll = rows.length, noun = "row", size = 20, sort = null, kind = "", tools = [] } = {}) {
  const state = { by: sort?.[0] ?? null, down: sort?.[1] ?? false, words: [], keep: () => true, shown: size };
  const texts = new Map(rows.map((row) => [row, columns.map((c) => c.search?.(row) ?? c.value(row) ?? "").join(" ").toLowerCase()]));
  const heads = columns.map((column, at) => {
    const click = () => {
      state.down = state.by === at ? !state.down : /number|cell/.test(column.kind);
      state.by = at;
      draw();
    };
    const explained = column.help ? { title: column.help } : {};
    return element("th", { scope: "col", class: column.kind ?? null, ...explained }, element("button", { type: "button", onclick: click }, column.title));
  });
  const body = element("tbody");
  const status = element("span", { class: "quiet", role: "status" });
  const more = element("button", { type: "button", class: "more", onclick: () => { state.shown += 5 * size; draw(); } }, "Show more");
  const search = (event) => { state.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean); draw(); };
  const filter = element("input", { type: "search", placeholder: "Filter: all of these words", "aria-label": `Filter ${plural(noun)}`, oninput: search });

  function draw() {
    const kept = rows.filter((row) => state.keep(row) && state.words.every((word) => texts.get(row).includes(word)));
    if (state.by !== null) kept.sort((a, b) => compare(columns[state.by].value(a), columns[state.by].value(b), state.down));
    heads.forEach((head, at) => {
      if (state.by === at) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    body.replaceChildren(...kept.slice(0, state.shown).map((row) => drawRow(row, columns)));
    more.hidden = kept.length <= state.shown;
    status.textContent = shownText(Math.min(kept.length, state.shown), kept.length, rows.length, ofAll, noun);
  }

  draw();
  const table = element("table", { class: kind || null }, element("thead", {}, element("tr", {}, ...heads)), body);
  const bar = rows.length > 5 ? element("div", { class: "tools" }, filter, ...tools.map((make) => make(state, draw))) : null;
  const part = element("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `Table of ${plural(noun)}` }, table);
  return element("div", { class: "table" }, bar, part, element("p", {}, status, " ", more));
}

function drawRow(row, columns) {
  const cells = columns.map((column) => {
    const classes = [column.kind, column.mark?.(row)].filter(Boolean).join(" ");
    const title = column.tip?.(row) ?? null;
    return element("td", { class: classes || null, title }, (column.show ?? column.value)(row) ?? "");
  });
  return element("tr", { class: row.waived ? "waived" : null }, ...cells);
}

function shownText(shown, kept, there, ofAll, noun) {
  const parts = [shown === kept ? counted(kept, noun) : `${count(shown)} of ${counted(kept, noun)}`];
  if (kept < there) parts.push(`chosen from ${count(there)}`);
  if (there < ofAll) parts.push(`the page holds the first ${count(there)} of ${count(ofAll)}; ask the catalog for the others`);
  return parts.join("; ");
}

function compare(a, b, down) {
  const missing = (x) => x === null || x === undefined || x === "";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  return down ? -order : order;
}

const text = (title, name, more = {}) => ({ title, value: (row) => row[name], ...more });
const long = (title, name) => text(title, name, { kind: "long", show: (row) => breakable(row[name] ?? "") });
const number = (title, name, more = {}) => ({ title, kind: "number", value: (row) => row[name], show: (row) => count(row[name]), ...more });
const bytes = (title, name) => number(title, name, { show: (row) => size(row[name]) });
const found = () => [number("Errors", "errors"), number("Warnings", "warnings"), number("Infos", "infos")];

// A share with its bar. Sorting by it puts the least complete together.
function share(title, part, whole, help, shade = "") {
  const value = (row) => (row[whole] ? row[part] / row[whole] : null);
  const show = (row) => {
    const inner = element("span");
    inner.style.width = `${(value(row) ?? 0) * 100}%`;
    return element("span", {}, row[whole] ? element("span", { class: `share ${shade}`, "aria-hidden": "true" }, inner) : null, percent(row[part], row[whole]));
  };
  const tip = (row) => `${count(row[part])} of ${count(row[whole])}`;
  return { title, kind: "number", value, show, tip, help };
}

// ---- charts

function niceStep(highest) {
  const power = 10 ** Math.floor(Math.log10(highest / 3 || 1));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => highest / step <= 4) ?? highest;
}

// Stacked bars over time, drawn again when the room for them changes.
function barChart(title, periods, series, format) {
  const chart = drawn("svg", { class: "chart", role: "img", "aria-label": title });
  const totals = periods.map((_, at) => series.reduce((sum, one) => sum + one.values[at], 0));
  const highest = Math.max(1, ...totals);
  let width = 0;

  function draw(room) {
    if (room < 50 || room === width) return;
    width = room;
    const [height, left, bottom, top] = [170, 62, 22, 8];
    const slot = (width - left - 4) / periods.length;
    const y = (value) => height - bottom - (value / highest) * (height - bottom - top);
    chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const parts = [];
    for (let tick = 0; tick <= highest; tick += niceStep(highest)) {
      parts.push(drawn("line", { x1: left, x2: width, y1: y(tick), y2: y(tick) }));
      parts.push(drawn("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, format(tick)));
    }
    const every = Math.max(1, Math.ceil(MAX_BARS_LABELLED / slot));
    periods.forEach((period, at) => {
      const x = left + at * slot;
      if (at % every === 0 && x + 60 < width) parts.push(drawn("text", { x, y: height - 5 }, period));
      const tip = [period, ...series.filter((s) => s.values[at]).map((s) => `${s.name}: ${format(s.values[at])}`)].join("\n");
      let below = 0;
      for (const { name, values, mark } of series) {
        if (!values[at]) continue;
        const [from, to] = [y(below), y(below + values[at])];
        const room = { x, y: to, width: Math.max(Math.min(slot * 0.85, 60), 1), height: Math.max(from - to, 0.5) };
        parts.push(drawn("rect", { ...room, class: mark, "data-series": name }, drawn("title", {}, tip)));
        below += values[at];
      }
    });
    chart.replaceChildren(...parts);
  }

  new ResizeObserver(([entry]) => draw(Math.round(entry.contentRect.width))).observe(chart);
  const numbers = periods.map((period, at) => ({ period, at })).filter(({ at }) => totals[at]);
  const columns = [text("Period", "period"), ...series.map((s) => ({ title: s.name, kind: "number", value: (r) => s.values[r.at], show: (r) => format(s.values[r.at]) }))];
  return element("div", {}, element("h3", {}, title), legend(series), chart,
    element("details", {}, element("summary", {}, "The same in numbers"), makeTable(numbers, columns, { noun: "period", sort: [0, true] })));
}

function legend(series) {
  return element("div", { class: "key" }, ...series.map(({ name, mark }) => element("span", {}, element("i", { class: mark }), name)));
}

// One row of presence: run-length coded cells ("4:120 0 4:2") as rectangles.
function presenceBar(row, trains) {
  const bar = drawn("svg", { preserveAspectRatio: "none", role: "img", "aria-label": `${row.name}: data for ${count(row.n_trains)} of ${counted(trains, "train")}` });
  let at = 0;
  for (const stretch of row.cells ? row.cells.split(" ") : []) {
    const [level, length] = stretch.split(":");
    bar.append(drawn("rect", { x: at, y: 0, width: Number(length ?? 1), height: 1, class: `p${level}` }));
    at += Number(length ?? 1);
  }
  bar.setAttribute("viewBox", `0 0 ${Math.max(at, 1)} 1`);
  return bar;
}

// ---- sections

const main = document.getElementById("main");

function section(id, title, ...children) {
  document.getElementById("contents").append(element("a", { href: `#${id}` }, title));
  main.append(element("section", { id, "aria-labelledby": `${id}-title` }, element("h2", { id: `${id}-title` }, title), ...children));
}

function about() {
  const { made, location, scope, runs_searched, runs_outline_only, runs_undated, oldest_ingest, version } = content.about;
  const facts = [counted(runs_searched, "run")];
  if (scope.length) facts.push(`only ${scope.join("; ")}`);
  if (runs_outline_only) facts.push(`${count(runs_outline_only)} of them known by outline only, so not their keys`);
  if (runs_undated) facts.push(`${count(runs_undated)} more left out, as their files record no times`);
  if (oldest_ingest) facts.push(`oldest ingest ${moment(oldest_ingest)}`);
  document.getElementById("about").append("Catalog ", element("code", {}, location), ` as of ${moment(made)}: ${facts.join("; ")}.`);
  return `Made by xfelcat ${version} from the catalog alone; no data file was opened. Times are UTC, sizes decimal.`;
}

function totals(instruments, counts) {
  const sum = (name) => instruments.reduce((total, row) => total + row[name], 0);
  const open = (letter) => counts.filter((row) => row.severity === letter).reduce((total, row) => total + row.findings, 0);
  const all = (name) => counts.reduce((total, row) => total + row[name], 0);
  const there = [
    ["Instruments", count(instruments.filter((row) => row.instrument).length)], ["Proposals", count(sum("proposals"))],
    ["Runs", count(sum("runs"))], ["Files", count(sum("files"))], ["Volume", size(sum("bytes"))], ["Missing files", count(sum("files_missing"))],
  ];
  const wrong = [
    ["Errors", count(open("E")), "E"], ["Warnings", count(open("W")), "W"], ["Information", count(open("I")), "I"],
    ["New of these", count(all("new"))], ["Waived, not counted", count(all("waived"))],
    ["Gone", count(content.n_gone)],
  ];
  const tile = ([name, value, mark]) => element("div", { class: mark ?? null }, element("dt", {}, name), element("dd", {}, value));
  return [there, wrong].map((tiles) => element("dl", { class: "tiles" }, ...tiles.map(tile)));
}

function timeline({ per, periods, bytes: volumes, runs, with_errors, with_warnings }) {
  if (!periods.length) return [element("p", { class: "quiet" }, "No run says when it was.")];
  const classes = Object.entries(volumes).map(([name, values], at) => ({ name: name || "outside a facility tree", values, mark: `c${Math.min(at, 5)}` }));
  const clean = runs.map((n, at) => n - with_errors[at] - with_warnings[at]);
  const states = [
    { name: "with errors", values: with_errors, mark: "cE" },
    { name: "with warnings", values: with_warnings, mark: "cW" },
    { name: "neither", values: clean, mark: "clean" },
  ];
  return [barChart(`Volume per ${per} by data class`, periods, classes, size), barChart(`Runs per ${per} by the worst that was found`, periods, states, count)];
}

function findingsTable(table, noun, options = {}) {
  const rows = rowsOf(table);
  const chosen = new Set("EWI");
  const severities = (state, draw) => {
    state.keep = (row) => chosen.has(row.severity);
    const boxes = Object.entries(content.severities).map(([letter, name]) => {
      const change = (event) => { chosen[event.target.checked ? "add" : "delete"](letter); draw(); };
      return element("label", {}, element("input", { type: "checkbox", checked: true, value: letter, onchange: change }), name);
    });
    return element("fieldset", { "aria-label": "Severity" }, ...boxes);
  };
  const rank = (row) => "EWI".indexOf(row.severity) + (row.waived ? 3 : 0);
  const columns = [
    { title: "Severity", value: rank, search: (row) => `${content.severities[row.severity]} ${row.waived ? `waived ${row.waived}` : ""}`, show: (row) => severityMark(row.severity, row.waived) },
    { title: "Check", value: (row) => row.check_id, kind: "name", tip: (row) => checks.get(row.check_id)?.title, show: (row) => element("abbr", { title: checks.get(row.check_id)?.title ?? "" }, row.check_id) },
    ...options.columns,
  ];
  return makeTable(rows, columns, { ofAll: table.of_all, noun, tools: [severities], ...options });
}

function condensedTable(table) {
  const quiet = (line) => (line ? element("span", { class: "quiet" }, breakable(line)) : null);
  const fileOf = (row) => (row.run && row.path ? row.path.slice(row.path.lastIndexOf("/") + 1) : row.path);
  const message = {
    title: "What was found", kind: "long", value: (row) => row.template, search: (row) => `${row.template} ${row.pattern} ${checks.get(row.check_id)?.title ?? ""}`,
    show: (row) => element("span", {}, row.template, quiet(row.pattern), quiet(row.waived && `waived: ${row.waived}`)),
  };
  const unlike = (row) => [row.place !== row.pattern && row.place, row.message !== row.template && row.message].filter(Boolean).join(": ");
  const example = {
    title: "Example", kind: "long", value: (row) => row.path, search: (row) => `${row.run ?? ""} ${row.path} ${row.place ?? ""} ${row.message}`, tip: (row) => row.path,
    show: (row) => element("span", {}, row.run ? element("div", {}, runLink(row.run)) : null, breakable(fileOf(row) ?? ""), quiet(unlike(row))),
  };
  const columns = [
    message, number("Findings", "findings"), number("New", "new", { kind: "number wide" }), number("Files", "files", { kind: "number wide" }), number("Runs", "runs"), number("Proposals", "proposals", { kind: "number wide" }),
    { title: "Since", kind: "name wide", value: (row) => row.first_seen, show: (row) => day(row.first_seen) }, example,
  ];
  return findingsTable(table, "kind of finding", { columns });
}

function condensed() {
  const meanings = content.checks.flatMap((check) => [element("dt", {}, `${check.id} ${check.title}`), element("dd", {}, check.meaning), element("dd", { class: "quiet" }, check.remedy)]);
  return [
    element("p", { class: "quiet" }, "Findings alike but for numbers (N, #) and names ('…', FILE, RUN, SOURCE) are one row, with one of them as an example."),
    content.findings.of_all ? condensedTable(content.findings) : element("p", {}, "Nothing is wrong."),
    content.gone.of_all ? element("h3", {}, "Gone since the audit before") : null,
    content.gone.of_all ? condensedTable(content.gone) : null,
    meanings.length ? element("details", {}, element("summary", {}, "What the checks mean, and what to do"), element("dl", { class: "checks" }, ...meanings)) : null,
  ];
}

// Rows of runs or proposals against checks; a cell says how many, its shade about how many.
function heatMap(table, first, others, noun, what) {
  const rows = rowsOf(table).filter((row) => Object.keys(row.checks).length);
  const found = [...new Set(rows.flatMap((row) => Object.keys(row.checks)))].sort();
  const highest = Math.max(1, ...rows.flatMap((row) => Object.values(row.checks).map(([, n]) => n)));
  const shade = (n) => (n >= 2 && n >= highest ** 0.67 ? 3 : n >= 2 && n >= highest ** 0.33 ? 2 : 1);
  const cell = (id) => ({
    title: id, help: checks.get(id)?.title, kind: "cell",
    value: (row) => row.checks[id]?.[1] ?? null,
    search: (row) => (row.checks[id] ? id : ""),
    show: (row) => (row.checks[id] ? short(row.checks[id][1]) : ""),
    mark: (row) => (row.checks[id] ? `${row.checks[id][0]}${shade(row.checks[id][1])}` : ""),
    tip: (row) => (row.checks[id] ? `${id} ${checks.get(id)?.title ?? ""}: ${count(row.checks[id][1])} ${what}` : null),
  });
  return makeTable(rows, [first, ...others, ...found.map(cell)], { ofAll: table.of_all, noun, kind: "heat", size: 25 });
}

function heatMaps() {
  const run = { title: "Run", kind: "name", value: (row) => row.run, show: (row) => runLink(row.run) };
  const when = { title: "When", kind: "name", value: (row) => row.started_at, show: (row) => day(row.started_at) };
  const proposal = { title: "Proposal", kind: "name", value: (row) => proposalName(row.proposal) };
  const maps = {
    "Runs": () => heatMap(content.runs, run, [text("Instrument", "instrument"), when], "run", "findings"),
    "Proposals": () => heatMap(content.proposals, proposal, [text("Instrument", "instrument"), number("Of runs", "runs")], "proposal", "runs"),
  };
  const host = element("div");
  const buttons = Object.keys(maps).map((name) => element("button", { type: "button", onclick: () => choose(name) }, name));
  function choose(name) {
    host.replaceChildren(maps[name]());
    buttons.forEach((button) => button.setAttribute("aria-pressed", button.textContent === name));
  }
  choose("Runs");
  const marks = Object.entries(content.severities).map(([letter, name]) => ({ name, mark: `c${letter}` }));
  const shades = marks.map(({ name }, at) => element("span", {}, ...[1, 2, 3].map((n) => element("i", { class: `heat-key ${"EWI"[at]}${n}` })), name));
  return [
    element("div", { class: "tools" }, ...buttons, element("span", { class: "key heat" }, ...shades)),
    element("p", { class: "quiet" }, "Per run: findings of a check. Per proposal: runs that have any. Those with most wrong come first; a run that is a link opens to its trains and findings."),
    host,
  ];
}

function whereTables(instruments) {
  const proposals = rowsOf(content.proposals);
  const size4 = [number("Runs", "runs"), number("Files", "files"), bytes("Volume", "bytes"), number("Trains", "trains")];
  const named = { title: "Instrument", kind: "name", value: (row) => row.instrument ?? "(outside a facility tree)" };
  const last = { title: "Last data", kind: "name", value: (row) => row.last_data, show: (row) => day(row.last_data) };
  const proposal = { title: "Proposal", kind: "name", value: (row) => proposalName(row.proposal) };
  const classes = rowsOf(content.classes).map((row) => ({ ...row, all: content.classes.rows.reduce((sum, r) => sum + r[content.classes.columns.indexOf("bytes")], 0) }));
  const ofClass = [{ title: "Data class", value: (row) => row.data_class ?? "(outside a facility tree)" }, number("Runs", "runs"), number("Files", "files"), bytes("Volume", "bytes"), share("Share", "bytes", "all", "of the volume", "neutral")];
  return [
    element("h3", {}, "By instrument"),
    makeTable(instruments, [named, number("Proposals", "proposals"), ...size4, ...found()], { noun: "instrument" }),
    element("h3", {}, "By data class"),
    makeTable(classes, ofClass, { noun: "data class", sort: [3, true] }),
    element("h3", {}, "By proposal"),
    makeTable(proposals, [proposal, text("Instrument", "instrument"), text("Cycle", "cycle"), ...size4, number("Missing files", "files_missing"), last, ...found()], { noun: "proposal", ofAll: content.proposals.of_all, size: 15 }),
  ];
}

function coverage() {
  const columns = [
    long("Source", "source"), text("Section", "section"), number("Proposals", "proposals"), number("Runs", "runs"),
    share("Share of runs", "runs", "of_runs", "of the runs of the proposals and data classes that have it"),
    share("Share of trains", "trains", "of_trains", "of the trains of the runs that have it and are known in full"),
  ];
  return [
    element("p", { class: "quiet" }, "Runs are compared with those of the proposals and data classes that have the source at all, trains with those of the runs that have it."),
    makeTable(rowsOf(content.coverage), columns, { noun: "source", ofAll: content.coverage.of_all }),
  ];
}

function audits() {
  const columns = [
    { title: "When", kind: "name", value: (row) => row.started_at, show: (row) => moment(row.started_at) }, number("Seconds", "seconds", { show: (row) => row.seconds.toFixed(1) }),
    long("Scope", "scope"), number("Runs", "n_runs"), number("Files", "n_files"), number("Errors", "n_errors"), number("Warnings", "n_warnings"), number("Infos", "n_infos"), number("New", "n_new"), number("Resolved", "n_resolved"),
  ];
  return makeTable(rowsOf(content.audits), columns, { noun: "audit" });
}

// ---- one run

function detailOf(name) {
  const run = content.details[name];
  const facts = [
    ["Directory", element("code", {}, run.directory)], ["Cycle", run.cycle ?? "–"], ["Format", run.format_version ?? "–"], ["Began", moment(run.started_at)], ["Ended", moment(run.ended_at)],
    ["Ingested", moment(run.ingested_at)], ["Suspect trains", count(run.n_suspect_trains ?? 0)], ["Missing files", count(run.n_files_missing ?? 0)],
  ].flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]);
  const columns = [text("What was found", "message", { kind: "long" }), long("File", "file"), long("Place", "place"), { title: "Since", kind: "name", value: (row) => row.first_seen, show: (row) => day(row.first_seen) }];
  return [
    element("dl", { class: "facts" }, ...facts),
    element("h3", {}, "Trains"), ...trainsOf(run),
    element("h3", {}, "Findings"), run.findings.of_all ? findingsTable(run.findings, "finding", { columns }) : element("p", {}, "Nothing is wrong with it."),
  ];
}

function trainsOf(run) {
  if (run.n_trains === undefined) return [element("p", {}, "Whoever made this page could not read the part of the catalog that knows them.")];
  if (!run.n_trains) return [element("p", {}, "No train of it is known.")];
  const line = (row, more) => [element("span", {}, breakable(row.name), row.alike ? element("span", { class: "quiet" }, ` and ${count(row.alike)} more with the same trains`) : null, more ? element("span", { class: "quiet" }, ` ${more}`) : null), presenceBar(row, run.n_trains), element("span", { class: "number" }, percent(row.n_trains, run.n_trains))];
  const key = [["p4", "data"], ["p2", "for some trains"], ["p0", "no data"]].map(([mark, name]) => ({ mark, name }));
  const sentences = [`${counted(run.n_complete, "source")} ${run.n_complete === 1 ? "has" : "have"} data for every train.`];
  if (run.n_left_out) sentences.push(`${counted(run.n_left_out, "more row")} of sources left out.`);
  if (run.n_unknown_files) sentences.push(`${counted(run.n_unknown_files, "file")} known by outline only: what their sources have is not known.`);
  return [
    element("p", {}, `${counted(run.n_trains, "train")}, ${run.first_train} to ${run.last_train}, suspect ones left out. `, legend(key)),
    element("div", { class: "bars" }, ...run.aggregators.flatMap((row) => line(row, `${counted(row.n_files, "file")}, ${size(row.n_bytes)}`))),
    run.sources.length ? element("h3", {}, "Sources that miss trains") : null,
    run.sources.length ? element("div", { class: "bars" }, ...run.sources.flatMap((row) => line(row))) : null,
    element("p", { class: "quiet" }, sentences.join(" ")),
  ];
}

function showRun() {
  const dialog = document.getElementById("detail");
  const name = Object.keys(content.details).find((run) => addressOf(run) === location.hash);
  if (name === undefined) return dialog.close();
  const close = element("button", { type: "button", onclick: () => dialog.close() }, "Close");
  dialog.replaceChildren(element("header", {}, element("h2", { id: "detail-title" }, `Run ${name}`), close), ...detailOf(name));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function forgetRun() {
  if (location.hash.startsWith("#run=")) history.replaceState(null, "", location.href.split("#")[0]);
}

// ---- the page

const note = about();
const instruments = rowsOf(content.instruments);
main.append(...totals(instruments, rowsOf(content.counts)));
if (content.about.runs_searched || content.findings.of_all || content.n_gone) {
  section("findings", "Findings", ...condensed());
  section("checks", "Runs and checks", ...(content.counts.of_all ? heatMaps() : [element("p", {}, "No check found anything.")]));
  section("where", "Volume", ...whereTables(instruments));
  section("timeline", "Timeline", ...timeline(content.timeline));
  section("coverage", "Coverage of sources", ...coverage());
  if (content.audits.of_all) section("audits", "Audits", audits());
} else main.append(element("p", { class: "notice" }, "No run: nothing was ingested, or the filter leaves none."));
document.body.append(element("footer", {}, note));
document.getElementById("detail").addEventListener("close", forgetRun);
window.addEventListener("hashchange", showRun);
showRun();
