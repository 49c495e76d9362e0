/* The chart of distributions: which column, which clips, which axes; hover says what a bar holds. */
"use strict";
(() => {
  const chart = document.getElementById("chart");
  if (!chart) return;
  const data = JSON.parse(document.getElementById("chart-data").textContent);
  const select = document.getElementById("chart-column");
  const splitSelect = document.getElementById("chart-split");
  const state = { column: 0, x: data.columns[0].scale, y: "linear", view: "bins", split: "whole" };
  const QUANTILES = ["least", "1 %", "5 %", "25 %", "median", "75 %", "95 %", "99 %", "greatest"];
  const MEDIAN = 4;
  const FILLED = 2;

  /* Names come from the corpus, and the chart reads a little markup: nothing of theirs is taken for it. */
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const number = (value, digits = 4) => {
    if (value === null || !Number.isFinite(value)) return "–";
    if (Number.isInteger(value)) return value.toLocaleString("en");
    if (Math.abs(value) < 1e-4) return value.toExponential(1);
    const before = Math.floor(Math.log10(Math.abs(value))) + 1;
    const places = Math.max(0, digits - before);
    return value.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
  };
  const share = (part) => (part > 0 && part < 0.001 ? "< 0.1 %" : `${(100 * part).toFixed(1)} %`);
  const told = (column, value) => `${number(value === null ? null : value / column.divisor, column.digits)} ${column.unit}`.trim();
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const faint = (hex) => `${hex}2e`;
  const ruled = () => matchMedia("(pointer: coarse)").matches;

  const splitOf = (column) => (column.series[state.split]?.length ? state.split : "whole");
  const scaleOf = (series) => (series[state.x] ? state.x : state.x === "log" ? "linear" : "log");
  /* Bars of equal width on their own scale are shown on it; both scales are there for most columns. */
  const binsOf = (column, series) => {
    const scale = scaleOf(series);
    const { edges, counts } = series[scale];
    const steps = counts.map((count, place) => ({
      low: edges[place], high: edges[place + 1], count, part: count / Math.max(1, series.count),
      middle: scale === "log" ? Math.sqrt(edges[place] * edges[place + 1]) : (edges[place] + edges[place + 1]) / 2,
    }));
    return { scale, steps };
  };
  const hover = (column, series, step) =>
    `<b>${plain(number(step.low / column.divisor, column.digits))} – ${plain(told(column, step.high))}</b><br>`
    + `${number(step.count)} ${column.counted}, ${share(step.part)}`;

  const barTrace = (column, series) => {
    const held = binsOf(column, series).steps.filter((step) => step.count);
    return {
      type: "bar", x: held.map((step) => (step.low + step.high) / 2 / column.divisor), y: held.map((step) => step.count),
      width: held.map((step) => (step.high - step.low) / column.divisor), text: held.map((step) => hover(column, series, step)), textposition: "none",
      hovertemplate: "%{text}<extra></extra>", marker: { color: colour("--accent"), line: { width: 0 } },
    };
  };
  /* Series have bins of their own: heights are shares per equal step of the axis, so that they may be compared. */
  const niceStep = (width) => {
    const power = 10 ** Math.floor(Math.log10(width));
    return power * [1, 2, 5, 10].find((each) => each * power >= width * 0.999);
  };
  const equalStep = (column, seriesList) => {
    const scale = scaleOf(seriesList[0]);
    if (scale === "log") return { of: (step) => Math.log2(step.high / step.low), name: "doubling" };
    const { edges } = seriesList[0][scale];
    const size = niceStep((edges[edges.length - 1] - edges[0]) / column.divisor / (edges.length - 1));
    return { of: (step) => (step.high - step.low) / column.divisor / size, name: `${Number(size.toPrecision(3))} ${column.unit}`.trim() };
  };
  const stepTrace = (column, series, tone, filled, equal) => {
    const { steps } = binsOf(column, series);
    return {
      type: "scatter", mode: "lines", name: plain(series.name), line: { shape: "hvh", color: tone, width: 2 },
      x: steps.map((step) => step.middle / column.divisor), y: steps.map((step) => 100 * step.part / equal.of(step)),
      text: steps.map((step) => hover(column, series, step)), fill: filled ? "tozeroy" : "none", fillcolor: faint(tone),
      hovertemplate: `%{text}<extra>${plain(series.name)}</extra>`,
    };
  };
  const sumTrace = (column, series, tone) => {
    const { steps } = binsOf(column, series);
    let sum = 0;
    const parts = steps.map((step) => { sum += step.part; return 100 * sum; });
    const text = steps.map((step, place) => `<b>${share(parts[place] / 100)}</b> are up to ${plain(told(column, step.high))}`);
    return {
      type: "scatter", mode: "lines", name: plain(series.name), line: { color: tone, width: 2 }, text,
      x: [steps[0].low, ...steps.map((step) => step.high)].map((value) => value / column.divisor), y: [0, ...parts],
      customdata: ["", ...text], hovertemplate: `%{customdata}<extra>${plain(series.name)}</extra>`,
    };
  };

  const tracesOf = (column, seriesList) => {
    const tones = colour("--series").split(/\s+/);
    if (state.view === "sum") return seriesList.map((series, place) => sumTrace(column, series, tones[place % tones.length]));
    if (seriesList.length === 1) return [barTrace(column, seriesList[0])];
    const equal = equalStep(column, seriesList);
    return seriesList.map((series, place) =>
      stepTrace(column, series, tones[place % tones.length], seriesList.length <= FILLED, equal));
  };
  const medianMark = (column, series, scale) => {
    const value = series.quantiles[MEDIAN] / column.divisor;
    const at = scale === "log" ? Math.log10(value) : value;
    if (!Number.isFinite(at)) return {};
    const ink = colour("--ink");
    return {
      shapes: [{ type: "line", xref: "x", yref: "paper", x0: value, x1: value, y0: 0, y1: 1,
        line: { color: ink, width: 1.5, dash: "dot" } }],
      annotations: [{ x: at, y: 1, xref: "x", yref: "paper", yanchor: "bottom", showarrow: false,
        text: `median ${plain(told(column, series.quantiles[MEDIAN]))}`, font: { color: colour("--soft"), size: 12 } }],
    };
  };
  const axis = (extra) => ({
    gridcolor: colour("--line"), linecolor: colour("--line"), zerolinecolor: colour("--line"), zeroline: false,
    tickfont: { size: 12 }, automargin: true, fixedrange: ruled(), ...extra,
  });
  /* Ticks of a log axis: 1, 2 and 5 of each power of ten while these are few, else the powers alone. */
  const logTicks = (column, seriesList) => {
    const edges = seriesList.flatMap((series) => series.log.edges).map((edge) => edge / column.divisor);
    const [low, high] = [Math.log10(Math.min(...edges)), Math.log10(Math.max(...edges))];
    const steps = high - low > (chart.clientWidth > 600 ? 5 : 2.5) ? [1] : [1, 2, 5];
    const vals = [];
    for (let power = Math.floor(low); power <= high; power += 1) vals.push(...steps.map((step) => Number(`${step}e${power}`)));
    return { tickmode: "array", tickvals: vals, ticktext: vals.map((value) => number(value, 1)) };
  };
  const valueTitle = (seriesList, column) => {
    if (state.view === "sum") return `% of ${column.counted} up to it`;
    if (seriesList.length === 1) return column.counted;
    return `% of ${column.counted} per ${plain(equalStep(column, seriesList).name)}`;
  };
  const layoutOf = (column, seriesList) => {
    const scale = scaleOf(seriesList[0]);
    const single = seriesList.length === 1;
    const logY = state.y === "log" && state.view === "bins";
    return {
      autosize: true, margin: { l: 58, r: 14, t: single ? 30 : 12, b: 46 }, bargap: 0, barmode: "overlay",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colour("--soft") },
      hovermode: single || seriesList.length > 3 ? "closest" : "x", dragmode: ruled() ? false : "zoom",
      hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink"), size: 13 } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--accent") },
      showlegend: !single, legend: { orientation: "h", x: 0, y: -0.22, yanchor: "top" },
      xaxis: axis({ type: scale, showgrid: false, title: { text: plain(column.unit ? `${column.label} (${column.unit})` : column.label),
        standoff: 8, font: { size: 13 } }, nticks: 8, ...(scale === "log" ? logTicks(column, seriesList) : {}) }),
      yaxis: axis({ type: logY ? "log" : "linear", rangemode: "tozero", title: { text: valueTitle(seriesList, column), standoff: 8, font: { size: 13 } },
        ...(logY ? { dtick: 1 } : {}), ...(state.view === "sum" ? { range: [0, 101] } : {}) }),
      ...(single ? medianMark(column, seriesList[0], scale) : {}),
    };
  };

  const showQuantiles = (column, seriesList) => {
    const box = document.getElementById("chart-quantiles");
    box.replaceChildren();
    if (seriesList.length !== 1) { box.hidden = true; return; }
    box.hidden = false;
    const [series] = seriesList;
    const pairs = QUANTILES.map((name, place) => [name, series.quantiles[place]]);
    pairs.push(["mean", series.mean]);
    for (const [name, value] of pairs) {
      const item = document.createElement("div");
      item.append(Object.assign(document.createElement("dt"), { textContent: name }));
      item.append(Object.assign(document.createElement("dd"), { textContent: told(column, value) }));
      box.append(item);
    }
  };
  const showChoices = (column, seriesList) => {
    for (const button of document.querySelectorAll("[data-choose]")) {
      const [what, value] = button.dataset.choose.split(":");
      const chosen = what === "x" ? scaleOf(seriesList[0]) : state[what];
      button.setAttribute("aria-pressed", String(chosen === value));
      button.disabled = (what === "x" && !seriesList[0][value]) || (what === "y" && state.view === "sum");
    }
    for (const thumb of document.querySelectorAll(".thumb")) {
      thumb.setAttribute("aria-pressed", String(thumb.dataset.column === column.name));
    }
    select.value = String(state.column);
    if (splitSelect) splitSelect.value = splitOf(column);
  };
  const draw = () => {
    const column = data.columns[state.column];
    const seriesList = column.series[splitOf(column)];
    chart.setAttribute("aria-label", `Distribution of ${column.label}`);
    Plotly.react(chart, tracesOf(column, seriesList), layoutOf(column, seriesList), {
      responsive: true, displaylogo: false, displayModeBar: ruled() ? false : "hover",
      modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
      toImageButtonOptions: { format: "png", scale: 2, filename: `vidloom-${column.name}` },
    });
    showQuantiles(column, seriesList);
    showChoices(column, seriesList);
  };
  const showColumn = (name, split) => {
    const place = data.columns.findIndex((column) => column.name === name);
    if (place < 0) return;
    state.column = place;
    state.x = data.columns[place].scale;
    if (split) state.split = split;
    draw();
    const top = document.querySelector(".chart-card");
    const box = top.getBoundingClientRect();
    if (box.top < 52 || box.bottom > innerHeight) top.scrollIntoView({ block: box.height > innerHeight - 60 ? "start" : "nearest" });
  };

  select.addEventListener("change", () => showColumn(data.columns[Number(select.value)].name));
  splitSelect?.addEventListener("change", () => { state.split = splitSelect.value; draw(); });
  document.addEventListener("click", (event) => {
    const choice = event.target.closest("[data-choose]");
    if (choice) { const [what, value] = choice.dataset.choose.split(":"); state[what] = value; draw(); return; }
    const thumb = event.target.closest("[data-column]");
    if (thumb) showColumn(thumb.dataset.column, thumb.dataset.split);
  });
  document.addEventListener("themechange", draw);
  draw();
})();
