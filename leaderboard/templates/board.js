"use strict";
// Draws the tables of data.js. What is shown stands in the address, so that a view can be linked to and kept.
(() => {
  const { tables, submissions } = window.BOARD;
  const view = { data: "", track: "", protocol: "", sort: "rank", order: "ascending", q: "", show: "scores", flagged: "yes", ranked: "all" };
  const by = (id) => document.getElementById(id);
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const drawn = (name, attributes = {}, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const unique = (values) => [...new Set(values)];
  const address = (name) => `models/${encodeURIComponent(name)}.html`;

  function readAddress() {
    for (const [key, value] of new URLSearchParams(location.hash.slice(1))) if (key in view) view[key] = value;
    const choices = [["data", () => tables], ["track", () => tables.filter((t) => t.data === view.data)], ["protocol", () => tables.filter((t) => t.data === view.data && t.track === view.track)]];
    for (const [key, among] of choices) {
      const known = unique(among().map((table) => table[key]));
      if (!known.includes(view[key])) view[key] = known[0];
      const select = by(key);
      select.replaceChildren(...known.map((value) => make("option", { value }, window.BOARD.titles[value] ?? value.replace("->", "→"))));
      select.value = view[key];
    }
    by("q").value = view.q;
    by("show").value = view.show;
    by("flagged").checked = view.flagged === "yes";
    by("ranked").checked = view.ranked === "only";
  }

  function writeAddress() {
    history.replaceState(null, "", `#${new URLSearchParams(view)}`);
  }

  const table = () => tables.find((t) => t.data === view.data && t.track === view.track && t.protocol === view.protocol);

  function columnsOf(chosen) {
    const text = (key, title, get) => ({ key, title, get, numeric: false });
    const number = (key, title, get, more = {}) => ({ key, title, get, numeric: true, ...more });
    const columns = [number("rank", "Rank", (line) => line.rank), text("model", "Model", (line) => submissions[line.id].title)];
    if (view.show === "groups") {
      chosen.groups.forEach((title, place) => columns.push(number(`group ${place}`, title, (line) => line.groups[place], { digits: 3, better: "higher" })));
      return columns;
    }
    columns.push(number("skill", "Skill", (line) => line.skill?.[0], { cell: (line) => line.skill, digits: 3, better: "higher" }));
    for (const column of chosen.columns) columns.push(number(column.key, column.title, (line) => line.cells[column.key]?.[0], { cell: (line) => line.cells[column.key], digits: column.digits, better: column.better }));
    columns.push(number("parameters", "Parameters", (line) => submissions[line.id].parameters, { digits: 0 }), number("dimension", "Dimension", (line) => submissions[line.id].dimension, { digits: 0 }));
    return columns;
  }

  function chosenLines(chosen, columns) {
    const words = view.q.toLowerCase().split(/\s+/).filter(Boolean);
    const lines = chosen.lines.filter((line) => {
      const known = submissions[line.id];
      return words.every((word) => known.words.includes(word)) && (view.flagged === "yes" || !known.flags.length) && (view.ranked !== "only" || line.rank);
    });
    const column = columns.find((one) => one.key === view.sort) ?? columns[0];
    const sign = view.order === "descending" ? -1 : 1;
    const value = (line) => column.get(line);
    return lines.sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a == null || b == null) return (a == null) - (b == null);
      return sign * (column.numeric ? a - b : a.localeCompare(b));
    });
  }

  function interval([value, low, high], [from, to]) {
    const place = (number) => `${Math.max(0, Math.min(100, (100 * (number - from)) / (to - from || 1)))}%`;
    const element = make("span", { class: "interval", "aria-hidden": "true" });
    for (const [name, number] of [["--at", value], ["--low", low], ["--high", high]]) element.style.setProperty(name, place(number));
    return element;
  }

  function cell(column, line, range) {
    const value = column.get(line);
    if (value == null) return make("td", {}, make("span", { class: "soft" }, "–"));
    const shown = column.digits === 0 ? value.toLocaleString("en") : value.toFixed(column.digits ?? 0);
    const element = make("td", {}, shown);
    const known = column.cell?.(line);
    if (known && known[1] != null) element.append(" ", make("span", { class: "range" }, `[${known[1].toFixed(column.digits)}, ${known[2].toFixed(column.digits)}]`), interval(known, range));
    return element;
  }

  // The first rows at once, the others while the reader looks at these; a newer drawing ends an older one.
  let drawing = 0;
  const ROWS_AT_ONCE = 100;

  function drawRows(body, lines, columns, ranges, mine) {
    body.append(...lines.slice(0, ROWS_AT_ONCE).map((line) => {
      const known = submissions[line.id];
      const row = make("tr");
      columns.forEach((column, place) => {
        if (column.key === "model") {
          const name = make("th", { scope: "row" }, make("a", { href: address(known.name) }, known.title));
          for (const flag of known.flags) name.append(" ", make("span", { class: "flag" }, flag));
          row.append(name);
        } else if (column.key === "rank") row.append(make("td", {}, line.rank ? String(line.rank) : make("span", { class: "soft", title: line.missing }, "unranked")));
        else row.append(cell(column, line, ranges[place]));
      });
      return row;
    }));
    if (lines.length > ROWS_AT_ONCE) setTimeout(() => { if (mine === drawing) drawRows(body, lines.slice(ROWS_AT_ONCE), columns, ranges, mine); });
  }

  function draw() {
    const chosen = table();
    const columns = columnsOf(chosen);
    if (!columns.some((column) => column.key === view.sort)) [view.sort, view.order] = ["rank", "ascending"];
    const lines = chosenLines(chosen, columns);
    const ranges = columns.map((column) => {
      if (!column.cell) return null;
      const known = chosen.lines.flatMap((line) => (column.cell(line) ?? []).slice(0, 3)).filter((number) => number != null);
      // A few very bad rows would squeeze the rest: the drawing ends at -0.5, the number does not.
      return [Math.max(Math.min(...known), -0.5), Math.max(...known)];
    });
    const head = make("tr");
    columns.forEach((column) => {
      const button = make("button", { type: "button" }, column.title);
      button.addEventListener("click", () => {
        const first = column.better === "higher" ? "descending" : "ascending";
        view.order = view.sort !== column.key ? first : view.order === "ascending" ? "descending" : "ascending";
        view.sort = column.key;
        update();
        by("table").querySelector(`th[aria-sort] button`)?.focus();
      });
      const header = make("th", { scope: "col" }, button);
      if (column.key === view.sort) header.setAttribute("aria-sort", view.order);
      head.append(header);
    });
    const body = make("tbody");
    drawing += 1;
    drawRows(body, lines, columns, ranges, drawing);
    const caption = make("caption", {}, `${chosen.caption} ${lines.length} of ${chosen.lines.length} rows.`);
    by("table").replaceChildren(make("table", {}, caption, make("thead", {}, head), body));
    by("note").textContent = chosen.note;
    by("plots").hidden = view.show !== "plots";
    if (view.show === "plots") by("plots").replaceChildren(plot(lines, "parameters", "Parameters"), plot(lines, "dimension", "Dimension of the embedding"));
    by("table").hidden = view.show === "plots";
    by("status").textContent = `${lines.length} rows shown`;
  }

  function plot(lines, key, title) {
    const points = lines.map((line) => ({ known: submissions[line.id], skill: line.skill })).filter((one) => one.skill && one.known[key] > 0);
    const [width, height, left, bottom] = [460, 300, 46, 40];
    const logs = points.map((one) => Math.log10(one.known[key]));
    const from = Math.floor(Math.min(...logs, 6));
    const to = Math.max(from + 1, Math.ceil(Math.max(...logs, 1)));
    const low = Math.min(0, ...points.map((one) => Math.max(one.skill[1], -1)));
    const high = Math.max(1, ...points.map((one) => one.skill[2]));
    const x = (log) => left + ((width - left - 12) * (log - from)) / (to - from);
    const y = (skill) => 10 + ((height - bottom - 10) * (high - Math.max(skill, low))) / (high - low);
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Skill against ${title}` });
    for (let power = from; power <= to; power += 1) svg.append(drawn("line", { class: "axis", x1: x(power), x2: x(power), y1: 10, y2: height - bottom }), drawn("text", { x: x(power), y: height - bottom + 16, "text-anchor": "middle" }, `1e${power}`));
    for (const skill of [0, 0.5, 1]) svg.append(drawn("line", { class: "axis", x1: left, x2: width - 12, y1: y(skill), y2: y(skill) }), drawn("text", { x: left - 6, y: y(skill) + 4, "text-anchor": "end" }, String(skill)));
    svg.append(drawn("text", { x: (left + width) / 2, y: height - 6, "text-anchor": "middle" }, title), drawn("text", { x: 12, y: 150, transform: "rotate(-90 12 150)", "text-anchor": "middle" }, "Skill"));
    const named = [];
    for (const { known, skill } of points) {
      const at = x(Math.log10(known[key]));
      const link = drawn("a", { href: address(known.name) }, drawn("title", {}, `${known.title}: ${skill[0].toFixed(3)} [${skill[1].toFixed(3)}, ${skill[2].toFixed(3)}]`));
      link.append(drawn("line", { class: "bar", x1: at, x2: at, y1: y(skill[1]), y2: y(skill[2]) }), drawn("circle", { class: "dot", cx: at, cy: y(skill[0]), r: 5 }));
      const isFree = named.every(([x0, y0]) => Math.abs(x0 - at) > 150 || Math.abs(y0 - y(skill[0])) > 12);
      if (isFree) {
        named.push([at, y(skill[0])]);
        const name = known.title.length > 22 ? `${known.title.slice(0, 21)}…` : known.title;
        link.append(drawn("text", { x: at + (at > width * 0.6 ? -8 : 8), y: y(skill[0]) + 4, "text-anchor": at > width * 0.6 ? "end" : "start" }, name));
      }
      svg.append(link);
    }
    return make("figure", {}, svg, make("figcaption", {}, `Skill with its 95 % interval against ${title.toLowerCase()}; ${points.length} rows that state it. ${table().data}.`));
  }

  function update() {
    writeAddress();
    readAddress();
    draw();
  }

  for (const key of ["data", "track", "protocol", "show"]) by(key).addEventListener("change", (event) => { view[key] = event.target.value; update(); });
  by("q").addEventListener("input", (event) => { view.q = event.target.value; update(); });
  by("flagged").addEventListener("change", (event) => { view.flagged = event.target.checked ? "yes" : "no"; update(); });
  by("ranked").addEventListener("change", (event) => { view.ranked = event.target.checked ? "only" : "all"; update(); });
  window.addEventListener("hashchange", () => { readAddress(); draw(); });
  readAddress();
  draw();
})();
