// The verdict on each instrument, and what is wrong, each with what to do.

const stateWords = { E: "errors", W: "warnings", "": "fine" };

function stateMark(row) {
  const bad = row.state === "E" ? row.with_errors : row.state === "W" ? row.with_warnings : 0;
  const where = bad ? ` in ${count(bad)} of ${counted(row.runs, "run")}` : "";
  return element("span", { class: `state ${row.state || "fine"}` }, stateWords[row.state] + where);
}

function stateOf(row) {
  return row.with_errors ? "E" : row.with_warnings ? "W" : "";
}

// Values as a line, from 0 to the largest, the last one marked.
function spark(values, label) {
  const highest = Math.max(...values, 1);
  const x = (at) => (values.length > 1 ? (at / (values.length - 1)) * 96 + 2 : 50);
  const y = (value) => 22 - (value / highest) * 19;
  const points = values.map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const last = values.length - 1;
  return drawn(
    "svg",
    { class: "spark", viewBox: "0 0 100 24", role: "img", "aria-label": label },
    drawn("title", label),
    drawn("polyline", { points }),
    drawn("circle", { cx: x(last), cy: y(values[last]), r: 2.2 }),
  );
}

function trendOf({ trend, new: fresh }) {
  if (trend.length < 2) return trend.length ? "first audit" : "not audited yet";
  const label = trend.map(([at, runs]) => `${moment(at)}: ${counted(runs, "run")} with errors`).join("\n");
  const [before, now] = trend.slice(-2).map(([, runs]) => runs);
  const change = now === before ? "as at the audit before" : `${counted(now, "run")}, ${count(before)} before`;
  const line = spark(trend.map(([, runs]) => runs), label);
  return element("span", line, change, fresh ? `; ${counted(fresh, "new finding")}` : "");
}

function growthOf({ growth }, bytes) {
  if (!growth.length) return size(bytes);
  const [month, added] = growth[growth.length - 1];
  const totals = growth.map(([, , total]) => total);
  const label = growth.map(([at, more, total]) => `${at}: ${size(total)}, of them ${size(more)} new`).join("\n");
  if (totals.length < 2) return `${size(bytes)}, all of ${month}`;
  return element("span", spark(totals, label), `${size(bytes)}, ${size(added)} in ${month}`);
}

function calibratedOf({ raw_runs, calibrated }) {
  if (!raw_runs) return "no raw runs";
  return element("span", shareBar(calibrated, raw_runs), ` ${count(calibrated)} of ${counted(raw_runs, "raw run")}`);
}

function verdictCard(verdict, instrument) {
  const name = verdict.instrument ?? outside;
  const row = { ...instrument, ...verdict };
  const facts = [
    ["Errors over audits", trendOf(row)],
    ["Calibrated", calibratedOf(row)],
    ["Volume", growthOf(row, row.bytes)],
  ];
  const problems = row.problems.map((problem) => {
    const check = checks.get(problem.check_id);
    return element(
      "li",
      { class: problem.severity },
      element("strong", titleOf(problem.check_id)),
      `: ${counted(problem.runs, "run")}${problem.new ? `, ${count(problem.new)} new` : ""}, such as `,
      runLink(problem.run),
      element("span", { class: "quiet" }, sentence(check?.remedy ?? "")),
    );
  });
  return element(
    "article",
    { class: `verdict ${row.state || "fine"}` },
    element("h3", detailLink("instrument", name, name), " ", stateMark(row)),
    factList(...facts),
    problems.length ? element("ol", ...problems) : element("p", { class: "quiet" }, "Nothing to do."),
  );
}

function verdicts(instruments) {
  const byName = new Map(instruments.map((row) => [row.instrument, row]));
  const cards = content.verdicts.map((verdict) => verdictCard(verdict, byName.get(verdict.instrument)));
  return element("div", { class: cards.length > 4 ? "verdicts" : "verdicts few" }, ...cards);
}

// What is wrong, a block for each check, severity and waiver: title, what to do, examples.

const KINDS_SHOWN = 3;

function problemsOf(table) {
  const totals = new Map(rowsOf(content.counts).map((row) => [`${row.check_id} ${row.severity}`, row]));
  const found = new Map();
  for (const row of rowsOf(table)) {
    const key = `${row.check_id} ${row.severity}`;
    const whole = `${key} ${row.waived ?? ""}`;
    const known = table === content.findings && !row.waived ? totals.get(key) : undefined;
    if (!found.has(whole)) found.set(whole, { ...row, ...known, kinds: [], sum: 0, isCounted: known !== undefined });
    found.get(whole).kinds.push(row);
    found.get(whole).sum += row.findings;
  }
  return [...found.values()];
}

function problemBlock(problem, withRemedy) {
  const check = checks.get(problem.check_id);
  const { kinds } = problem;
  const numbers = [counted(problem.isCounted ? problem.findings : problem.sum, "finding")];
  if (problem.isCounted && problem.runs) numbers[0] += ` in ${counted(problem.runs, "run")}`;
  if (problem.isCounted && problem.proposals > 1) numbers[0] += ` of ${counted(problem.proposals, "proposal")}`;
  if (problem.isCounted && problem.new) numbers.push(`${count(problem.new)} new`);
  const first = kinds.map((row) => row.first_seen).reduce((a, b) => (a < b ? a : b));
  numbers.push(`since ${day(first)}`);
  const list = element("ul", { class: "kinds" }, ...kinds.map(kindLine));
  const block = element(
    "article",
    { class: `problem ${problem.severity}${problem.waived ? " waived" : ""}` },
    element(
      "h3",
      severityMark(problem.severity, problem.waived),
      ` ${titleOf(problem.check_id)} `,
      element("abbr", { title: check?.meaning ?? "" }, problem.check_id),
    ),
    element("p", { class: "quiet" }, numbers.join(", "), problem.waived ? `; waived: ${problem.waived}` : ""),
    withRemedy && check?.remedy ? element("p", element("strong", "What to do: "), sentence(check.remedy)) : null,
    list,
  );
  if (kinds.length > KINDS_SHOWN) {
    const more = button(`${count(kinds.length - KINDS_SHOWN)} more`, () => {
      list.classList.add("all");
      more.remove();
    });
    block.append(more);
  }
  return block;
}

// One finding, and how many are like it.
function kindLine(row) {
  const name = row.path?.slice(row.path.lastIndexOf("/") + 1) ?? "";
  const isOfRun = row.run && row.run.endsWith(`/${name}`); // about the run as a whole
  const where = row.run ? (isOfRun ? "" : ` ${name}`) : (row.path ?? "");
  const alike = row.findings - 1;
  const others = alike ? ` and ${count(alike)} like it${row.runs > 1 ? ` in ${counted(row.runs, "run")}` : ""}` : "";
  return element(
    "li",
    row.run ? runLink(row.run) : null,
    breakable(where),
    ": ",
    breakable(row.message),
    element("span", { class: "quiet" }, breakable([row.place ? ` [${row.place}]` : "", others].join(""))),
  );
}

function problemList(table, { withRemedy = true } = {}) {
  const problems = problemsOf(table);
  const texts = new Map(
    problems.map((problem) => [
      problem,
      [
        ...["title", "meaning", "remedy"].map((name) => checks.get(problem.check_id)?.[name]),
        ...[problem.check_id, content.severities[problem.severity], problem.waived && `waived ${problem.waived}`],
        ...problem.kinds.flatMap((row) => [row.template, row.message, row.place, row.run, row.path]),
      ]
        .join(" ")
        .toLowerCase(),
    ]),
  );
  const chosen = new Set(letters);
  let words = [];
  const status = element("p", { class: "quiet", role: "status" });
  const host = element("div", { class: "problems" });
  const draw = () => {
    const kept = problems.filter(
      (problem) => chosen.has(problem.severity) && words.every((word) => texts.get(problem).includes(word)),
    );
    host.replaceChildren(...kept.map((problem) => problemBlock(problem, withRemedy)));
    status.textContent = shownText(kept.length, kept.length, problems.length, problems.length, "problem");
    if (table.rows.length < table.of_all)
      status.textContent += `; the page holds the first ${count(table.rows.length)} of ${count(table.of_all)}`;
    if (table.rows.length < table.of_all) status.textContent += "; ask the catalog for the others";
  };
  const search = searchField("Filter problems", (given) => {
    words = given;
    draw();
  });
  const boxes = Object.entries(content.severities).map(([letter, name]) => {
    const change = (event) => {
      chosen[event.target.checked ? "add" : "delete"](letter);
      draw();
    };
    const box = element("input", { type: "checkbox", checked: true, value: letter, onchange: change });
    return element("label", box, name);
  });
  draw();
  const tools = element("div", { class: "tools" }, search, element("fieldset", { "aria-label": "Severity" }, ...boxes));
  return element("div", problems.length > 3 ? tools : null, host, status);
}

function whatIsWrong() {
  const { findings, gone } = content;
  return [
    findings.of_all ? problemList(findings) : element("p", "Nothing is wrong."),
    ...(gone.of_all
      ? [
          element(
            "details",
            { class: "gone" },
            element("summary", `Gone since the audit before: ${counted(content.n_gone, "finding")}`),
            problemList(gone, { withRemedy: false }),
          ),
        ]
      : []),
  ];
}
