// Tables that sort, filter and unfold.
// A column: {title, value: row => what sorts and filters, show: row => text or element, kind}.

const PRINTED = 300; // rows of a table on paper
const forPrint = [];
window.addEventListener("beforeprint", () => forPrint.forEach((showAll) => showAll()));

function makeTable(
  rows,
  columns,
  { ofAll = rows.length, noun = "row", size = 20, sort = null, kind = "" } = {},
) {
  const state = { by: sort?.[0] ?? null, down: sort?.[1] ?? false, words: [], shown: size };
  const texts = new Map(
    rows.map((row) => [
      row,
      columns
        .map((c) => c.search?.(row) ?? c.value(row) ?? "")
        .join(" ")
        .toLowerCase(),
    ]),
  );
  const heads = columns.map((column, at) => {
    const click = () => {
      state.down = state.by === at ? !state.down : /number|cell/.test(column.kind);
      state.by = at;
      draw();
    };
    const explained = column.help ? { title: column.help } : {};
    const attributes = { scope: "col", class: column.kind ?? null, "data-title": column.title, ...explained };
    return element("th", attributes, button(column.title, click));
  });
  const body = element("tbody");
  const status = element("span", { class: "quiet", role: "status" });
  const showMore = () => {
    state.shown += 5 * size;
    draw();
  };
  const more = button("Show more", showMore, { class: "more" });
  const filter = searchField(`Filter ${plural(noun)}`, (words) => {
    state.words = words;
    draw();
  });
  forPrint.push(() => {
    state.shown = Math.max(state.shown, PRINTED);
    draw();
  });

  function draw() {
    const kept = rows.filter((row) => state.words.every((word) => texts.get(row).includes(word)));
    if (state.by !== null)
      kept.sort((a, b) => compare(columns[state.by].value(a), columns[state.by].value(b), state.down));
    heads.forEach((head, at) => {
      if (state.by === at) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    body.replaceChildren(...kept.slice(0, state.shown).map((row) => drawRow(row, columns)));
    more.hidden = kept.length <= state.shown;
    status.textContent = shownText(Math.min(kept.length, state.shown), kept.length, rows.length, ofAll, noun);
  }

  draw();
  const table = element("table", { class: kind || null }, element("thead", element("tr", ...heads)), body);
  const bar = rows.length > 5 ? element("div", { class: "tools" }, filter) : null;
  const part = element(
    "div",
    { class: "scroll", role: "region", tabindex: "0", "aria-label": `Table of ${plural(noun)}` },
    table,
  );
  return element("div", { class: "table" }, bar, part, element("p", status, " ", more));
}

function drawRow(row, columns) {
  const cells = columns.map((column) => {
    const classes = [column.kind, column.mark?.(row)].filter(Boolean).join(" ");
    const title = column.tip?.(row) ?? null;
    const label = column.label ?? column.title; // beside the cell, where rows are cards
    const attributes = { class: classes || null, title, "data-label": label };
    return element("td", attributes, (column.show ?? column.value)(row) ?? "");
  });
  return element("tr", { class: row.waived ? "waived" : null }, ...cells);
}

function shownText(shown, kept, there, ofAll, noun) {
  const parts = [shown === kept ? counted(kept, noun) : `${count(shown)} of ${counted(kept, noun)}`];
  if (kept < there) parts.push(`chosen from ${count(there)}`);
  if (there < ofAll)
    parts.push(`the page holds the first ${count(there)} of ${count(ofAll)}; ask the catalog for the others`);
  return parts.join("; ");
}

function compare(a, b, down) {
  const missing = (x) => x === null || x === undefined || x === "";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const order =
    typeof a === "number" && typeof b === "number"
      ? a - b
      : String(a).localeCompare(String(b), "en", { numeric: true });
  return down ? -order : order;
}

const text = (title, name, more = {}) => ({ title, value: (row) => row[name], ...more });
const named = (title, value, more = {}) => ({ title, kind: "name", value, ...more });
const date = (title, key, more = {}) => named(title, (row) => row[key], { show: (row) => day(row[key]), ...more });
const long = (title, name) => text(title, name, { kind: "long", show: (row) => breakable(row[name] ?? "") });
const number = (title, name, more = {}) => ({
  title,
  kind: "number",
  value: (row) => row[name],
  show: (row) => count(row[name]),
  ...more,
});
// Counts whose names are their titles: "n_runs" is "Runs".
const numbers = (...names) =>
  names
    .map((name) => name.replace(/^n_/, ""))
    .map((word, at) => number(word[0].toUpperCase() + word.slice(1), names[at]));
const bytes = (title, name) => number(title, name, { show: (row) => size(row[name]) });
const found = numbers("errors", "warnings", "infos");

function shareBar(part, whole, shade = "neutral") {
  const inner = element("span");
  inner.style.width = `${(part / whole) * 100}%`;
  return element("span", { class: `share ${shade}`, "aria-hidden": "true" }, inner);
}

// A share with its bar. Sorting by it puts the least complete together.
function share(title, part, whole, help, shade = "") {
  const value = (row) => (row[whole] ? row[part] / row[whole] : null);
  const show = (row) =>
    element(
      "span",
      row[whole] ? shareBar(row[part], row[whole], shade) : null,
      element("span", { class: "percent" }, percent(row[part], row[whole])),
    );
  const tip = (row) => `${count(row[part])} of ${count(row[whole])}`;
  return { title, kind: "number", value, show, tip, help };
}
