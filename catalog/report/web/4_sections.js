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
    .append("Catalog ", element("code", location), ` as of ${moment(made)}: ${facts.join("; ")}.`);
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
    element("div", { class: mark ?? null }, element("dt", name), element("dd", value));
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
  const chosen = new Set(letters);
  const severities = (state, draw) => {
    state.keep = (row) => chosen.has(row.severity);
    const boxes = Object.entries(content.severities).map(([letter, name]) => {
      const change = (event) => {
        chosen[event.target.checked ? "add" : "delete"](letter);
        draw();
      };
      return element(
        "label",
        element("input", { type: "checkbox", checked: true, value: letter, onchange: change }),
        name,
      );
    });
    return element("fieldset", { "aria-label": "Severity" }, ...boxes);
  };
  const rank = (row) => letters.indexOf(row.severity) + (row.waived ? letters.length : 0);
  const columns = [
    {
      title: "Severity",
      value: rank,
      search: (row) => `${content.severities[row.severity]} ${row.waived ? `waived ${row.waived}` : ""}`,
      show: (row) => severityMark(row.severity, row.waived),
    },
    named("Check", (row) => row.check_id, {
      tip: (row) => checks.get(row.check_id)?.title,
      show: (row) => element("abbr", { title: checks.get(row.check_id)?.title ?? "" }, row.check_id),
    }),
    ...options.columns,
  ];
  return makeTable(rows, columns, { ofAll: table.of_all, noun, tools: [severities], ...options });
}

function condensedTable(table) {
  const below = (line) => (line ? element("span", { class: "quiet" }, breakable(line)) : null);
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
    show: (row) => element("span", row.template, below(row.pattern), below(row.waived && `waived: ${row.waived}`)),
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
      element("span", row.run ? element("div", runLink(row.run)) : null, breakable(fileOf(row)), below(unlike(row))),
  };
  const columns = [
    message,
    number("Findings", "findings"),
    number("New", "new", { kind: "number wide" }),
    number("Files", "files", { kind: "number wide" }),
    number("Runs", "runs"),
    number("Proposals", "proposals", { kind: "number wide" }),
    date("Since", "first_seen", { kind: "name wide" }),
    example,
  ];
  return findingsTable(table, "kind of finding", { columns });
}

function condensed() {
  const meanings = content.checks.flatMap((check) => [
    element("dt", `${check.id} ${check.title}`),
    element("dd", check.meaning),
    element("dd", { class: "quiet" }, check.remedy),
  ]);
  return [
    quiet(
      "Findings alike but for numbers (N, #) and names ('…', FILE, RUN, SOURCE) are one row," +
        " with one of them as an example.",
    ),
    content.findings.of_all ? condensedTable(content.findings) : element("p", "Nothing is wrong."),
    ...(content.gone.of_all ? [element("h3", "Gone since the audit before"), condensedTable(content.gone)] : []),
    meanings.length
      ? element(
          "details",
          element("summary", "What the checks mean, and what to do"),
          element("dl", { class: "checks" }, ...meanings),
        )
      : null,
  ];
}

const instrument = text("Instrument", "instrument");
const proposal = named("Proposal", (row) => proposalName(row.proposal));

// Rows of runs or proposals against checks; a cell says how many, its shade about how many.
function heatMap(table, columns, noun, what) {
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
  return makeTable(rows, [...columns, ...found.map(cell)], { ofAll: table.of_all, noun, kind: "heat", size: 25 });
}

function heatMaps() {
  const run = named("Run", (row) => row.run, { show: (row) => runLink(row.run) });
  const maps = {
    Runs: () => heatMap(content.runs, [run, instrument, date("When", "started_at")], "run", "findings"),
    Proposals: () => heatMap(content.proposals, [proposal, instrument, number("Of runs", "runs")], "proposal", "runs"),
  };
  const host = element("div");
  const buttons = Object.keys(maps).map((name) => button(name, () => choose(name)));
  function choose(name) {
    host.replaceChildren(maps[name]());
    buttons.forEach((button) => button.setAttribute("aria-pressed", button.textContent === name));
  }
  choose("Runs");
  const shades = Object.entries(content.severities).map(([letter, name]) =>
    element("span", ...[1, 2, 3].map((n) => element("i", { class: `heat-key ${letter}${n}` })), name),
  );
  return [
    element("div", { class: "tools" }, ...buttons, element("span", { class: "key heat" }, ...shades)),
    quiet(
      "Per run: findings of a check. Per proposal: runs that have any. Those with most wrong come first;" +
        " a run that is a link opens to its trains and findings.",
    ),
    host,
  ];
}

function whereTables(instruments) {
  const sizes = [...numbers("runs", "files"), bytes("Volume", "bytes")];
  const all = [...sizes, ...numbers("trains")];
  const home = named("Instrument", (row) => row.instrument ?? outside);
  const classes = rowsOf(content.classes);
  const volume = classes.reduce((sum, row) => sum + row.bytes, 0);
  for (const row of classes) row.all = volume;
  const ofClass = [
    { title: "Data class", value: (row) => row.data_class ?? outside },
    ...sizes,
    share("Share", "bytes", "all", "of the volume", "neutral"),
  ];
  const ofProposal = [
    proposal,
    instrument,
    text("Cycle", "cycle"),
    ...all,
    number("Missing files", "files_missing"),
    date("Last data", "last_data"),
    ...found,
  ];
  return [
    element("h3", "By instrument"),
    makeTable(instruments, [home, ...numbers("proposals"), ...all, ...found], { noun: "instrument" }),
    element("h3", "By data class"),
    makeTable(classes, ofClass, { noun: "data class", sort: [3, true] }),
    element("h3", "By proposal"),
    makeTable(rowsOf(content.proposals), ofProposal, { noun: "proposal", ofAll: content.proposals.of_all, size: 15 }),
  ];
}

function coverage() {
  const columns = [
    long("Source", "source"),
    text("Section", "section"),
    ...numbers("proposals", "runs"),
    share("Share of runs", "runs", "of_runs", "of the runs of the proposals and data classes that have it"),
    share("Share of trains", "trains", "of_trains", "of the trains of the runs that have it and are known in full"),
  ];
  return [
    quiet(
      "Runs are compared with those of the proposals and data classes that have the source at all," +
        " trains with those of the runs that have it.",
    ),
    makeTable(rowsOf(content.coverage), columns, { noun: "source", ofAll: content.coverage.of_all }),
  ];
}

function audits() {
  const columns = [
    date("When", "started_at", { show: (row) => moment(row.started_at) }),
    number("Seconds", "seconds", { show: (row) => row.seconds.toFixed(1) }),
    long("Scope", "scope"),
    ...numbers("n_runs", "n_files", "n_errors", "n_warnings", "n_infos", "n_new", "n_resolved"),
  ];
  return makeTable(rowsOf(content.audits), columns, { noun: "audit" });
}
