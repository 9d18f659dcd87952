// The sections of the page.

const main = document.getElementById("main");

function section(id, title, ...children) {
  document.getElementById("contents").append(element("a", { href: `#${id}` }, title));
  main.append(
    element(
      "section",
      { id, "aria-labelledby": `${id}-title` },
      element("h2", { id: `${id}-title` }, title),
      ...children,
    ),
  );
}

function about() {
  const { made, location, scope, runs_searched, runs_outline_only, runs_undated, oldest_ingest, version } =
    content.about;
  const facts = [counted(runs_searched, "run")];
  if (scope.length) facts.push(`only ${scope.join("; ")}`);
  if (runs_outline_only) facts.push(`${count(runs_outline_only)} of them known by outline only, so not their keys`);
  if (runs_undated) facts.push(`${count(runs_undated)} more left out, as their files record no times`);
  if (oldest_ingest) facts.push(`oldest ingest ${moment(oldest_ingest)}`);
  document
    .getElementById("about")
    .append("Catalog ", element("code", {}, location), ` as of ${moment(made)}: ${facts.join("; ")}.`);
  return `Made by xfelcat ${version} from the catalog alone; no data file was opened. Times are UTC, sizes decimal.`;
}

function totals(instruments, counts) {
  const sum = (name) => instruments.reduce((total, row) => total + row[name], 0);
  const open = (letter) =>
    counts.filter((row) => row.severity === letter).reduce((total, row) => total + row.findings, 0);
  const all = (name) => counts.reduce((total, row) => total + row[name], 0);
  const there = [
    ["Instruments", count(instruments.filter((row) => row.instrument).length)],
    ["Proposals", count(sum("proposals"))],
    ["Runs", count(sum("runs"))],
    ["Files", count(sum("files"))],
    ["Volume", size(sum("bytes"))],
    ["Missing files", count(sum("files_missing"))],
  ];
  const wrong = [
    ["Errors", count(open("E")), "E"],
    ["Warnings", count(open("W")), "W"],
    ["Information", count(open("I")), "I"],
    ["New of these", count(all("new"))],
    ["Waived, not counted", count(all("waived"))],
    ["Gone", count(content.n_gone)],
  ];
  const tile = ([name, value, mark]) =>
    element("div", { class: mark ?? null }, element("dt", {}, name), element("dd", {}, value));
  return [there, wrong].map((tiles) => element("dl", { class: "tiles" }, ...tiles.map(tile)));
}

function timeline({ per, periods, bytes: volumes, runs, with_errors, with_warnings }) {
  if (!periods.length) return [element("p", { class: "quiet" }, "No run says when it was.")];
  const classes = Object.entries(volumes).map(([name, values], at) => ({
    name: name || "outside a facility tree",
    values,
    mark: `c${Math.min(at, 5)}`,
  }));
  const clean = runs.map((n, at) => n - with_errors[at] - with_warnings[at]);
  const states = [
    { name: "with errors", values: with_errors, mark: "cE" },
    { name: "with warnings", values: with_warnings, mark: "cW" },
    { name: "neither", values: clean, mark: "clean" },
  ];
  return [
    barChart(`Volume per ${per} by data class`, periods, classes, size),
    barChart(`Runs per ${per} by the worst that was found`, periods, states, count),
  ];
}

function findingsTable(table, noun, options = {}) {
  const rows = rowsOf(table);
  const chosen = new Set("EWI");
  const severities = (state, draw) => {
    state.keep = (row) => chosen.has(row.severity);
    const boxes = Object.entries(content.severities).map(([letter, name]) => {
      const change = (event) => {
        chosen[event.target.checked ? "add" : "delete"](letter);
        draw();
      };
      return element(
        "label",
        {},
        element("input", { type: "checkbox", checked: true, value: letter, onchange: change }),
        name,
      );
    });
    return element("fieldset", { "aria-label": "Severity" }, ...boxes);
  };
  const rank = (row) => "EWI".indexOf(row.severity) + (row.waived ? 3 : 0);
  const columns = [
    {
      title: "Severity",
      value: rank,
      search: (row) => `${content.severities[row.severity]} ${row.waived ? `waived ${row.waived}` : ""}`,
      show: (row) => severityMark(row.severity, row.waived),
    },
    {
      title: "Check",
      value: (row) => row.check_id,
      kind: "name",
      tip: (row) => checks.get(row.check_id)?.title,
      show: (row) => element("abbr", { title: checks.get(row.check_id)?.title ?? "" }, row.check_id),
    },
    ...options.columns,
  ];
  return makeTable(rows, columns, { ofAll: table.of_all, noun, tools: [severities], ...options });
}

function condensedTable(table) {
  const quiet = (line) => (line ? element("span", { class: "quiet" }, breakable(line)) : null);
  // Its run is named already; of a finding about the run as a whole nothing is left.
  const fileOf = (row) => {
    const name = row.path?.slice(row.path.lastIndexOf("/") + 1) ?? "";
    if (!row.run) return row.path ?? "";
    return row.run.endsWith(`/${name}`) ? "" : name;
  };
  const message = {
    title: "What was found",
    kind: "long",
    value: (row) => row.template,
    search: (row) => `${row.template} ${row.pattern} ${checks.get(row.check_id)?.title ?? ""}`,
    show: (row) => element("span", {}, row.template, quiet(row.pattern), quiet(row.waived && `waived: ${row.waived}`)),
  };
  const unlike = (row) =>
    [row.place !== row.pattern && row.place, row.message !== row.template && row.message].filter(Boolean).join(": ");
  const example = {
    title: "Example",
    kind: "long",
    value: (row) => row.path,
    search: (row) => `${row.run ?? ""} ${row.path} ${row.place ?? ""} ${row.message}`,
    tip: (row) => row.path,
    show: (row) =>
      element(
        "span",
        {},
        row.run ? element("div", {}, runLink(row.run)) : null,
        breakable(fileOf(row)),
        quiet(unlike(row)),
      ),
  };
  const columns = [
    message,
    number("Findings", "findings"),
    number("New", "new", { kind: "number wide" }),
    number("Files", "files", { kind: "number wide" }),
    number("Runs", "runs"),
    number("Proposals", "proposals", { kind: "number wide" }),
    { title: "Since", kind: "name wide", value: (row) => row.first_seen, show: (row) => day(row.first_seen) },
    example,
  ];
  return findingsTable(table, "kind of finding", { columns });
}

function condensed() {
  const meanings = content.checks.flatMap((check) => [
    element("dt", {}, `${check.id} ${check.title}`),
    element("dd", {}, check.meaning),
    element("dd", { class: "quiet" }, check.remedy),
  ]);
  return [
    element(
      "p",
      { class: "quiet" },
      "Findings alike but for numbers (N, #) and names ('…', FILE, RUN, SOURCE) are one row," +
        " with one of them as an example.",
    ),
    content.findings.of_all ? condensedTable(content.findings) : element("p", {}, "Nothing is wrong."),
    content.gone.of_all ? element("h3", {}, "Gone since the audit before") : null,
    content.gone.of_all ? condensedTable(content.gone) : null,
    meanings.length
      ? element(
          "details",
          {},
          element("summary", {}, "What the checks mean, and what to do"),
          element("dl", { class: "checks" }, ...meanings),
        )
      : null,
  ];
}

// Rows of runs or proposals against checks; a cell says how many, its shade about how many.
function heatMap(table, first, others, noun, what) {
  const rows = rowsOf(table).filter((row) => Object.keys(row.checks).length);
  const found = [...new Set(rows.flatMap((row) => Object.keys(row.checks)))].sort();
  const highest = Math.max(1, ...rows.flatMap((row) => Object.values(row.checks).map(([, n]) => n)));
  const shade = (n) => (n >= 2 && n >= highest ** 0.67 ? 3 : n >= 2 && n >= highest ** 0.33 ? 2 : 1);
  const cell = (id) => ({
    title: id,
    help: checks.get(id)?.title,
    kind: "cell",
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
    Runs: () => heatMap(content.runs, run, [text("Instrument", "instrument"), when], "run", "findings"),
    Proposals: () =>
      heatMap(
        content.proposals,
        proposal,
        [text("Instrument", "instrument"), number("Of runs", "runs")],
        "proposal",
        "runs",
      ),
  };
  const host = element("div");
  const buttons = Object.keys(maps).map((name) =>
    element("button", { type: "button", onclick: () => choose(name) }, name),
  );
  function choose(name) {
    host.replaceChildren(maps[name]());
    buttons.forEach((button) => button.setAttribute("aria-pressed", button.textContent === name));
  }
  choose("Runs");
  const marks = Object.entries(content.severities).map(([letter, name]) => ({ name, mark: `c${letter}` }));
  const shades = marks.map(({ name }, at) =>
    element("span", {}, ...[1, 2, 3].map((n) => element("i", { class: `heat-key ${"EWI"[at]}${n}` })), name),
  );
  return [
    element("div", { class: "tools" }, ...buttons, element("span", { class: "key heat" }, ...shades)),
    element(
      "p",
      { class: "quiet" },
      "Per run: findings of a check. Per proposal: runs that have any. Those with most wrong come first;" +
        " a run that is a link opens to its trains and findings.",
    ),
    host,
  ];
}

function whereTables(instruments) {
  const proposals = rowsOf(content.proposals);
  const size4 = [
    number("Runs", "runs"),
    number("Files", "files"),
    bytes("Volume", "bytes"),
    number("Trains", "trains"),
  ];
  const named = { title: "Instrument", kind: "name", value: (row) => row.instrument ?? "(outside a facility tree)" };
  const last = { title: "Last data", kind: "name", value: (row) => row.last_data, show: (row) => day(row.last_data) };
  const proposal = { title: "Proposal", kind: "name", value: (row) => proposalName(row.proposal) };
  const classes = rowsOf(content.classes).map((row) => ({
    ...row,
    all: content.classes.rows.reduce((sum, r) => sum + r[content.classes.columns.indexOf("bytes")], 0),
  }));
  const ofClass = [
    { title: "Data class", value: (row) => row.data_class ?? "(outside a facility tree)" },
    number("Runs", "runs"),
    number("Files", "files"),
    bytes("Volume", "bytes"),
    share("Share", "bytes", "all", "of the volume", "neutral"),
  ];
  return [
    element("h3", {}, "By instrument"),
    makeTable(instruments, [named, number("Proposals", "proposals"), ...size4, ...found()], { noun: "instrument" }),
    element("h3", {}, "By data class"),
    makeTable(classes, ofClass, { noun: "data class", sort: [3, true] }),
    element("h3", {}, "By proposal"),
    makeTable(
      proposals,
      [
        proposal,
        text("Instrument", "instrument"),
        text("Cycle", "cycle"),
        ...size4,
        number("Missing files", "files_missing"),
        last,
        ...found(),
      ],
      { noun: "proposal", ofAll: content.proposals.of_all, size: 15 },
    ),
  ];
}

function coverage() {
  const columns = [
    long("Source", "source"),
    text("Section", "section"),
    number("Proposals", "proposals"),
    number("Runs", "runs"),
    share("Share of runs", "runs", "of_runs", "of the runs of the proposals and data classes that have it"),
    share("Share of trains", "trains", "of_trains", "of the trains of the runs that have it and are known in full"),
  ];
  return [
    element(
      "p",
      { class: "quiet" },
      "Runs are compared with those of the proposals and data classes that have the source at all," +
        " trains with those of the runs that have it.",
    ),
    makeTable(rowsOf(content.coverage), columns, { noun: "source", ofAll: content.coverage.of_all }),
  ];
}

function audits() {
  const columns = [
    { title: "When", kind: "name", value: (row) => row.started_at, show: (row) => moment(row.started_at) },
    number("Seconds", "seconds", { show: (row) => row.seconds.toFixed(1) }),
    long("Scope", "scope"),
    number("Runs", "n_runs"),
    number("Files", "n_files"),
    number("Errors", "n_errors"),
    number("Warnings", "n_warnings"),
    number("Infos", "n_infos"),
    number("New", "n_new"),
    number("Resolved", "n_resolved"),
  ];
  return makeTable(rowsOf(content.audits), columns, { noun: "audit" });
}
