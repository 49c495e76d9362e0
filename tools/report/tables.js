/* Long tables: sorted by a click on a head, filtered by words, shown a page at a time. */
"use strict";
(() => {
  const whole = (value) => value.toLocaleString("en");
  const precise = (value, digits = 3) => {
    if (Number.isInteger(value)) return whole(value);
    const before = Math.floor(Math.log10(Math.abs(value))) + 1;
    const places = Math.max(0, digits - before);
    return value.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
  };
  const inUnits = (value, units) => {
    const [unit, divisor] = units.find(([, least, from]) => value >= from * least) ?? units[units.length - 1];
    return `${precise(value / divisor)} ${unit}`;
  };
  const SIZES = [["TiB", 2 ** 40, 1], ["GiB", 2 ** 30, 1], ["MiB", 2 ** 20, 1], ["KiB", 1024, 1], ["bytes", 1, 0]];
  const LENGTHS = [["h", 3600, 1], ["min", 60, 3], ["s", 1, 0]];
  const hours = (value) => (value >= 3600 ? `${precise(value / 3600)} h` : inUnits(value, LENGTHS));
  const SPELL = {
    text: String, code: String, count: whole, quantity: String, length: hours,
    size: (value) => inUnits(value, SIZES), trouble: (value) => (value ? whole(value) : "–"),
  };
  const isNumber = (column) => !["text", "code"].includes(column.kind);
  const shown = (column, row) => (column.texts ? column.texts[row] : SPELL[column.kind](column.cells[row]));

  const makeCell = (column, row, place) => {
    const cell = document.createElement(place === 0 ? "th" : "td");
    if (place === 0) cell.scope = "row";
    const text = shown(column, row);
    if (text.length > 40) cell.title = text;
    if (column.kind === "code") {
      cell.append(Object.assign(document.createElement("code"), { textContent: text }));
    } else {
      cell.append(Object.assign(document.createElement("bdi"), { textContent: text }));
    }
    if (isNumber(column)) cell.className = "num";
    if (column.kind === "trouble" && column.cells[row]) cell.classList.add(column.label === "failed" ? "bad-text" : "warn-text");
    return cell;
  };

  const start = (box) => {
    const data = JSON.parse(document.getElementById(`${box.dataset.table}-data`).textContent);
    const { columns } = data;
    const count = columns[0].cells.length;
    const state = { sort: null, falling: false, page: 0, size: 0 };
    const find = (part) => box.querySelector(`[data-part="${part}"]`);
    const [body, words, only, status, pages] = ["body", "words", "only", "status", "page"].map(find);
    const [back, on, size] = ["back", "on", "size"].map(find);
    const heads = [...box.querySelectorAll("th button")];
    const searched = columns.filter((column) => !isNumber(column));
    const troubles = columns.filter((column) => column.kind === "trouble");
    let rows = [...Array(count).keys()];

    const matching = () => {
      const wanted = (words?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
      const holds = (row) => wanted.every((word) =>
        searched.some((column) => String(column.cells[row]).toLowerCase().includes(word)));
      const troubled = (row) => !only?.checked || troubles.some((column) => column.cells[row] > 0);
      return [...Array(count).keys()].filter((row) => troubled(row) && holds(row));
    };
    const order = () => {
      rows = matching();
      if (state.sort === null) return;
      const column = columns[state.sort];
      const turn = state.falling ? -1 : 1;
      const collator = new Intl.Collator("en", { numeric: true });
      const compare = isNumber(column)
        ? (left, right) => column.cells[left] - column.cells[right]
        : (left, right) => collator.compare(column.cells[left], column.cells[right]);
      rows.sort((left, right) => turn * compare(left, right) || left - right);
    };
    const draw = () => {
      const last = Math.max(0, Math.ceil(rows.length / state.size) - 1);
      state.page = Math.min(state.page, last);
      const first = state.page * state.size;
      const lines = rows.slice(first, first + state.size).map((row) => {
        const line = document.createElement("tr");
        line.append(...columns.map((column, place) => makeCell(column, row, place)));
        return line;
      });
      body.replaceChildren(...lines);
      heads.forEach((head, place) => {
        const kind = state.sort !== place ? "none" : state.falling ? "descending" : "ascending";
        head.closest("th").setAttribute("aria-sort", kind);
      });
      status.textContent = rows.length
        ? `${whole(first + 1)} – ${whole(first + lines.length)} of ${whole(rows.length)}`
          + (rows.length < count ? ` (of ${whole(count)})` : "")
        : "no row is like this";
      pages.textContent = `page ${whole(state.page + 1)} of ${whole(last + 1)}`;
      back.disabled = state.page === 0;
      on.disabled = state.page === last;
    };
    const again = () => { state.page = 0; order(); draw(); };

    heads.forEach((head, place) => head.addEventListener("click", () => {
      state.falling = state.sort === place ? !state.falling : isNumber(columns[place]);
      state.sort = place;
      again();
    }));
    words?.addEventListener("input", again);
    only?.addEventListener("change", again);
    state.size = Number(size.value);
    size.addEventListener("change", () => { state.size = Number(size.value); again(); });
    back.addEventListener("click", () => { state.page -= 1; draw(); });
    on.addEventListener("click", () => { state.page += 1; draw(); });
    again();
  };
  document.querySelectorAll("[data-table]").forEach(start);
})();
