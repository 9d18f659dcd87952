// What is shown of one run; then the page itself is put together.

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
  ].flatMap(([term, value]) => [element("dt", term), element("dd", value)]);
  const columns = [
    text("What was found", "message", { kind: "long" }),
    long("File", "file"),
    long("Place", "place"),
    date("Since", "first_seen"),
  ];
  return [
    element("dl", { class: "facts" }, ...facts),
    element("h3", "Trains"),
    ...trainsOf(run),
    element("h3", "Findings"),
    run.findings.of_all
      ? findingsTable(run.findings, "finding", { columns })
      : element("p", "Nothing is wrong with it."),
  ];
}

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

function showRun() {
  const dialog = document.getElementById("detail");
  const name = Object.keys(content.details).find((run) => addressOf(run) === location.hash);
  if (name === undefined) return dialog.close();
  const close = button("Close", () => dialog.close());
  dialog.replaceChildren(
    element("header", element("h2", { id: "detail-title" }, `Run ${name}`), close),
    ...detailOf(name),
  );
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
  section(
    "checks",
    "Runs and checks",
    ...(content.counts.of_all ? heatMaps() : [element("p", "No check found anything.")]),
  );
  section("where", "Volume", ...whereTables(instruments));
  section("timeline", "Timeline", ...timeline(content.timeline));
  section("coverage", "Coverage of sources", ...coverage());
  if (content.audits.of_all) section("audits", "Audits", audits());
} else main.append(element("p", { class: "notice" }, "No run: nothing was ingested, or the filter leaves none."));
document.body.append(element("footer", note));
document.getElementById("detail").addEventListener("close", forgetRun);
window.addEventListener("hashchange", showRun);
showRun();
