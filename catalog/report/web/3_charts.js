// Bars over time, and for which trains there are data.

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
    const step = format === count ? Math.max(1, niceStep(highest)) : niceStep(highest); // no half runs
    for (let tick = 0; tick <= highest; tick += step) {
      parts.push(drawn("line", { x1: left, x2: width, y1: y(tick), y2: y(tick) }));
      parts.push(drawn("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, format(tick)));
    }
    const every = Math.max(1, Math.ceil(MAX_BARS_LABELLED / slot));
    periods.forEach((period, at) => {
      const x = left + at * slot;
      const middle = x + Math.min(slot * 0.85, 60) / 2;
      if (at % every === 0 && middle + 30 < width)
        parts.push(drawn("text", { x: middle, y: height - 5, "text-anchor": "middle" }, period));
      const tip = [period, ...series.filter((s) => s.values[at]).map((s) => `${s.name}: ${format(s.values[at])}`)].join(
        "\n",
      );
      let below = 0;
      for (const { name, values, mark } of series) {
        if (!values[at]) continue;
        const [from, to] = [y(below), y(below + values[at])];
        const room = { x, y: to, width: Math.max(Math.min(slot * 0.85, 60), 1), height: Math.max(from - to, 0.5) };
        parts.push(drawn("rect", { ...room, class: mark, "data-series": name }, drawn("title", tip)));
        below += values[at];
      }
    });
    chart.replaceChildren(...parts);
  }

  new ResizeObserver(([entry]) => draw(Math.round(entry.contentRect.width))).observe(chart);
  const numbers = periods.map((period, at) => ({ period, at })).filter(({ at }) => totals[at]);
  const columns = [
    text("Period", "period"),
    ...series.map((s) => ({
      title: s.name,
      kind: "number",
      value: (r) => s.values[r.at],
      show: (r) => format(s.values[r.at]),
    })),
  ];
  return element(
    "div",
    element("h3", title),
    legend(series),
    chart,
    element(
      "details",
      element("summary", "In numbers"),
      makeTable(numbers, columns, { noun: "period", sort: [0, true] }),
    ),
  );
}

function legend(series) {
  return element(
    "div",
    { class: "key" },
    ...series.map(({ name, mark }) => element("span", element("i", { class: mark }), name)),
  );
}

// One row of coverage: run-length coded cells ("4:120 0 4:2") as rectangles.
function coverageBar(row, trains) {
  const bar = drawn("svg", {
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": `${row.name}: data for ${count(row.n_trains)} of ${counted(trains, "train")}`,
  });
  let at = 0;
  for (const stretch of row.cells ? row.cells.split(" ") : []) {
    const [level, length] = stretch.split(":");
    bar.append(drawn("rect", { x: at, y: 0, width: Number(length ?? 1), height: 1, class: `p${level}` }));
    at += Number(length ?? 1);
  }
  bar.setAttribute("viewBox", `0 0 ${Math.max(at, 1)} 1`);
  return bar;
}
