// The other sections of the page.

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

function about(instruments) {
  const { made, location, scope, runs_outline_only, runs_undated, oldest_ingest, version } = content.about;
  const sum = (name) => instruments.reduce((total, row) => total + row[name], 0);
  const home = content.links.home;
  const [where, when] = [document.getElementById("about"), `as of ${moment(made)}`];
  const facts = [
    `${counted(sum("runs"), "run")} of ${counted(sum("proposals"), "proposal")}`,
    `${counted(sum("files"), "file")}, ${size(sum("bytes"))}`,
  ];
  if (sum("files_missing")) facts.push(`${counted(sum("files_missing"), "file")} missing`);
  if (scope.length) facts.push(`only ${scope.join("; ")}`);
  if (runs_outline_only) facts.push(`${count(runs_outline_only)} runs known by outline only, so not their keys`);
  if (runs_undated) facts.push(`${count(runs_undated)} more left out, as their files record no times`);
  if (oldest_ingest) facts.push(`oldest ingest ${moment(oldest_ingest)}`);
  where.append("Catalog ", element("code", location), ` ${when}: ${facts.join("; ")}.`);
  if (home) {
    document.title = document.querySelector("h1").textContent = content.links.title;
    where.append(" ", element("a", { href: home }, "All proposals"));
  }
  return `Made by xfelcat ${version} from the catalog alone; no data file was opened. Times are UTC, sizes decimal.`;
}

function timeline({ per, periods, bytes: volumes, runs, with_errors, with_warnings }) {
  if (!periods.length) return [element("p", { class: "quiet" }, "No run says when it was.")];
  const rawFirst = Object.entries(volumes).sort(([a], [b]) => (b === "raw") - (a === "raw"));
  const classes = rawFirst.map(([name, values], at) => ({
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

const instrument = text("Instrument", "instrument", {
  show: (row) => detailLink("instrument", row.instrument ?? outside, row.instrument ?? outside),
});
const proposal = named("Proposal", (row) => proposalName(row.proposal), { show: (row) => proposalLink(row.proposal) });

const MOST_CHECKS_BESIDE = 32; // that fit beside other columns in 1280 pixels

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
    label: `${id} ${checks.get(id)?.title ?? ""}`,
  });
  const besides = found.length > MOST_CHECKS_BESIDE ? columns.slice(0, 1) : columns;
  return makeTable(rows, [...besides, ...found.map(cell)], { ofAll: table.of_all, noun, kind: "heat", size: 25 });
}

function heatMaps() {
  const run = named("Run", (row) => row.run, { show: (row) => runLink(row.run) });
  const when = date("When", "started_at", { kind: "name wide" });
  const maps = {
    Runs: () => heatMap(content.runs, [run, when], "run", "findings"),
    Proposals: () => heatMap(content.proposals, [proposal, number("Of runs", "runs")], "proposal", "runs"),
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
  const ids = [...new Set(rowsOf(content.counts).map((row) => row.check_id))];
  const named_ = ids.flatMap((id) => [element("dt", id), element("dd", checks.get(id)?.title ?? "")]);
  return [
    element("div", { class: "tools" }, ...buttons, element("span", { class: "key heat" }, ...shades)),
    quiet(
      "Per run: findings of a check. Per proposal: runs that have any. Those with most wrong come first;" +
        " a run that is a link opens to its trains and findings.",
    ),
    host,
    element("details", element("summary", "What the columns are"), element("dl", { class: "facts checks" }, ...named_)),
  ];
}

// Proposals against data classes, and which raw runs lack calibrated data.
function proposalsTable(rows, ofAll, { withInstrument = true, ...more } = {}) {
  const used = new Map();
  for (const row of rows)
    for (const [name, n] of Object.entries(row.classes)) used.set(name, (used.get(name) ?? 0) + n);
  const names = [...used.keys()].sort((a, b) => (b === "raw") - (a === "raw") || used.get(b) - used.get(a)).slice(0, 5);
  const columns = [
    proposal,
    ...(withInstrument ? [instrument] : []),
    text("Cycle", "cycle", { kind: "wide" }),
    {
      title: "State",
      value: (row) => row.with_errors * 1e6 + row.with_warnings,
      search: (row) => stateWords[stateOf(row)],
      show: (row) => stateMark({ ...row, state: stateOf(row) }),
    },
    ...names.map((name) =>
      number(name || "elsewhere", name, {
        value: (row) => row.classes[name] ?? null,
        show: (row) => count(row.classes[name] ?? null),
        help: "runs of this data class",
      }),
    ),
    share("Calibrated", "calibrated", "raw_runs", "raw runs that have calibrated data", "neutral"),
    text("Not calibrated", "runs_without", { kind: "long", help: "raw runs that lack calibrated data" }),
    bytes("Volume", "bytes"),
    date("Last data", "last_data", { kind: "name wide" }),
  ];
  return makeTable(rows, columns, { noun: "proposal", ofAll, size: 15, ...more });
}

function classesTable() {
  const classes = rowsOf(content.classes);
  const volume = classes.reduce((sum, row) => sum + row.bytes, 0);
  for (const row of classes) row.all = volume;
  const columns = [
    { title: "Data class", value: (row) => row.data_class ?? outside },
    ...numbers("runs", "files"),
    bytes("Volume", "bytes"),
    share("Share", "bytes", "all", "of the volume", "neutral"),
  ];
  return makeTable(classes, columns, { noun: "data class", sort: [3, true] });
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

// What an audit covered, in words: the part of the page that says "disk" and "deep" is true or false.
function scopeText(row) {
  const { disk, deep, ...rest } = JSON.parse(row.scope);
  const words = ([name, value]) => `${name.replaceAll("_", " ")} ${[value].flat(2).join(", ")}`;
  const parts = Object.entries(rest).map(words);
  return [parts.join("; ") || "all runs", disk && "with the disk", deep && "with data"].filter(Boolean).join(", ");
}

function audits() {
  const columns = [
    date("When", "started_at", { show: (row) => moment(row.started_at) }),
    number("Seconds", "seconds", { show: (row) => row.seconds.toFixed(1) }),
    { title: "What", kind: "long", value: scopeText },
    ...numbers("n_runs", "n_files", "n_errors", "n_warnings", "n_infos", "n_new", "n_resolved"),
  ];
  return makeTable(rowsOf(content.audits), columns, { noun: "audit" });
}
