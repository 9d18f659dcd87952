// What is shown of one run, proposal or instrument; then the page itself is put together.

function detailOf(name) {
  const run = content.details[name];
  const facts = [
    ["Directory", element("code", run.directory)],
    ["Cycle", run.cycle ?? "–"],
    ["Format", run.format_version ?? "–"],
    ["Began", moment(run.started_at)],
    ["Ended", moment(run.ended_at)],
    ["Ingested", moment(run.ingested_at)],
    ["Suspect trains", count(run.n_suspect_trains ?? 0)],
    ["Missing files", count(run.n_files_missing ?? 0)],
  ];
  const columns = [
    {
      title: "Severity",
      value: (row) => letters.indexOf(row.severity) + (row.waived ? letters.length : 0),
      show: (row) => severityMark(row.severity, row.waived),
    },
    {
      title: "What was found",
      kind: "long",
      value: (row) => row.message,
      search: (row) => `${row.check_id} ${titleOf(row.check_id)} ${row.message}`,
      tip: (row) => checks.get(row.check_id)?.remedy,
      show: (row) => element("span", element("strong", titleOf(row.check_id)), `: ${row.message}`),
    },
    long("File", "file"),
    long("Place", "place"),
    date("Since", "first_seen"),
  ];
  return [
    factList(...facts),
    element("h3", "Trains"),
    ...trainsOf(run),
    element("h3", "Findings"),
    run.findings.of_all
      ? makeTable(rowsOf(run.findings), columns, { noun: "finding", ofAll: run.findings.of_all })
      : element("p", "Nothing is wrong with it."),
  ];
}

function factList(...facts) {
  const parts = facts.flatMap(([term, value]) => [element("dt", term), element("dd", value)]);
  return element("dl", { class: "facts" }, ...parts);
}

function detailOfProposal(name) {
  const row = rowsOf(content.proposals).find((one) => proposalName(one.proposal) === name);
  if (!row) return null;
  const found = Object.entries(row.checks).map(([id, [severity, runs]]) => ({ id, severity, runs, ...checks.get(id) }));
  found.sort((a, b) => letters.indexOf(a.severity) - letters.indexOf(b.severity) || b.runs - a.runs);
  const columns = [
    { title: "Severity", value: (c) => letters.indexOf(c.severity), show: (c) => severityMark(c.severity) },
    { title: "What", kind: "long", value: (c) => titleOf(c.id) },
    number("Runs", "runs"),
    text("What to do", "remedy", { kind: "long", show: (c) => sentence(c.remedy ?? "") }),
  ];
  const runs = rowsOf(content.runs).filter((run) => run.run.startsWith(`${name}/`));
  const run = named("Run", (one) => one.run, { show: (one) => runLink(one.run) });
  const when = date("When", "started_at");
  const what = {
    title: "Checks",
    kind: "long",
    value: (one) => Object.keys(one.checks).join(" "),
    show: (one) =>
      element(
        "span",
        ...Object.entries(one.checks).flatMap(([id, [severity, n]]) => [
          element("span", { class: `severity ${severity}`, title: checks.get(id)?.title ?? "" }, id),
          n > 1 ? `\u00d7${count(n)} ` : " ",
        ]),
      ),
  };
  return [
    factList(
      ["State", stateMark({ ...row, state: stateOf(row) })],
      ["Instrument", detailLink("instrument", row.instrument ?? outside, row.instrument ?? outside)],
      ["Cycle", row.cycle ?? "\u2013"],
      ["Runs", Object.entries(row.classes).map(([of, n]) => `${count(n)} ${of || "elsewhere"}`).join(", ")],
      ["Calibrated", row.raw_runs ? calibratedOf(row) : "no raw runs"],
      ["Not calibrated", row.runs_without || "none"],
      ["Missing files", count(row.files_missing)],
      ["Volume", `${counted(row.files, "file")}, ${size(row.bytes)}`],
      ["Last data", moment(row.last_data)],
    ),
    element("h3", "What is wrong"),
    found.length ? makeTable(found, columns, { noun: "problem" }) : element("p", "No check found anything."),
    ...(runs.length ? [element("h3", "Runs"), makeTable(runs, [run, when, what], { noun: "run" })] : []),
  ];
}

function detailOfInstrument(name) {
  const row = rowsOf(content.instruments).find((one) => (one.instrument ?? outside) === name);
  if (!row) return null;
  const verdict = content.verdicts.find((one) => one.instrument === row.instrument);
  const proposals = rowsOf(content.proposals).filter((one) => one.instrument === row.instrument);
  return [
    element("div", { class: "verdicts" }, verdictCard(verdict, row)),
    element("h3", "Proposals"),
    proposalsTable(proposals, proposals.length, { size: 40, withInstrument: false }),
  ];
}

const detailsOf = {
  run: (name) => (Object.hasOwn(content.details, name) ? detailOf(name) : null),
  proposal: detailOfProposal,
  instrument: detailOfInstrument,
};

function trainsOf(run) {
  if (run.n_trains === undefined)
    return [element("p", "Whoever made this page could not read the part of the catalog that knows them.")];
  if (!run.n_trains) return [element("p", "No train of it is known.")];
  const bars = (lines) => element("div", { class: "bars" }, ...lines);
  const muted = (words) => element("span", { class: "quiet" }, words);
  const line = (row) => [
    element(
      "span",
      breakable(row.name),
      row.alike ? muted(` and ${count(row.alike)} more with the same trains`) : null,
      row.n_files ? muted(` ${counted(row.n_files, "file")}, ${size(row.n_bytes)}`) : null,
    ),
    coverageBar(row, run.n_trains),
    element("span", { class: "number" }, percent(row.n_trains, run.n_trains)),
  ];
  const key = [
    { mark: "p4", name: "data" },
    { mark: "p2", name: "for some trains" },
    { mark: "p0", name: "no data" },
  ];
  const sentences = [
    `${counted(run.n_complete, "source")} ${run.n_complete === 1 ? "has" : "have"} data for every train.`,
  ];
  if (run.n_left_out) sentences.push(`${counted(run.n_left_out, "more row")} of sources left out.`);
  if (run.n_unknown_files)
    sentences.push(
      `${counted(run.n_unknown_files, "file")} known by outline only: what their sources have is not known.`,
    );
  return [
    element(
      "p",
      `${counted(run.n_trains, "train")}, ${run.first_train} to ${run.last_train}, suspect ones left out. `,
      legend(key),
    ),
    bars(run.aggregators.flatMap(line)),
    ...(run.sources.length ? [element("h3", "Sources that miss trains"), bars(run.sources.flatMap(line))] : []),
    quiet(sentences.join(" ")),
  ];
}

// The kind and name that the address is of; none for any other.
function addressed() {
  const [, kind, encoded] = location.hash.match(/^#(run|proposal|instrument)=(.*)$/) ?? [];
  try {
    return kind ? [kind, decodeURIComponent(encoded)] : [];
  } catch {
    return [];
  }
}

function showDetail() {
  const dialog = document.getElementById("detail");
  const [kind, name] = addressed();
  const shown = kind ? detailsOf[kind](name) : null;
  if (shown === null) return dialog.close();
  const title = `${kind[0].toUpperCase()}${kind.slice(1)} ${name}`;
  const close = button("Close", () => dialog.close());
  const of = kind === "run" ? name.match(/^p(\d{6})\//)?.[1] : null;
  dialog.replaceChildren(
    element("header", element("h2", { id: "detail-title" }, title), close),
    of && !content.links.home ? element("p", "of proposal ", proposalLink(Number(of))) : "",
    ...shown,
  );
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function forgetDetail() {
  if (addressed().length) history.replaceState(null, "", location.href.split("#")[0]);
}

// ---- the page

const instruments = rowsOf(content.instruments);
const note = about(instruments);
if (content.about.runs_searched || content.findings.of_all || content.n_gone) {
  if (content.verdicts.length) section("verdict", "Verdict", verdicts(instruments));
  section("findings", "What is wrong, and what to do", ...whatIsWrong());
  section(
    "checks",
    "Runs and checks",
    ...(content.counts.of_all ? heatMaps() : [element("p", "No check found anything.")]),
  );
  section("proposals", "Proposals", proposalsTable(rowsOf(content.proposals), content.proposals.of_all));
  section("volume", "Volume", classesTable(), ...timeline(content.timeline));
  section("coverage", "Coverage of sources", ...coverage());
  if (content.audits.of_all) section("audits", "Audits", audits());
} else main.append(element("p", { class: "notice" }, "No run: nothing was ingested, or the filter leaves none."));
document.body.append(element("footer", note));
document.getElementById("detail").addEventListener("close", forgetDetail);
window.addEventListener("hashchange", showDetail);
showDetail();
