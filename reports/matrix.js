// Asking the table: search, filters, order, another reference, arrow keys. Without it the table reads as it stands.
"use strict";
{
  const $ = (id) => document.getElementById(id);
  const table = $("table"), groups = [...table.tBodies], heads = [...table.querySelectorAll("thead button")];
  const names = [...table.querySelectorAll("thead th[data-name]")];
  // From the worst to what says nothing: the order that sorting by a column gives.
  const order = ["fail", "error", "guest", "lab", "away", "flaky", "known", "pass", "cannot", "skip", "none"];
  let texts = null;

  const filter = () => {
    const words = $("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const state = $("state").value, suite = $("suite").value, differ = $("differ").checked;
    texts ??= groups.map((group) => group.textContent.toLowerCase());
    let shown = 0;
    groups.forEach((group, number) => {
      const kept = (!suite || group.dataset.s === suite) && (!differ || "d" in group.dataset)
        && (!state || group.rows[0].querySelector(`td.${state}`))
        && words.every((word) => texts[number].includes(word));
      group.hidden = !kept;
      shown += kept ? 1 : 0;
    });
    $("count").textContent = shown === groups.length ? `${shown} tests` : `${shown} of ${groups.length} tests`;
    $("nothing").hidden = shown > 0;
  };

  const rank = (group, column) => {
    const cell = group.rows[0].cells[column + 1];
    return order.indexOf(cell.className.split(" ")[0]);
  };
  const far = (group, column) => {
    const { cells } = group.rows[0], v = cells[column + 1].dataset.v, base = cells[+$("reference").value + 1].dataset.v;
    return v === undefined || !+base ? -1 : Math.abs(Math.log(Math.abs(v / base)));
  };
  const sort = (button) => {
    const head = button.closest("th"), down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((one) => one.closest("th").removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const by = button.dataset.by, sign = down ? -1 : 1;
    const place = new Map(groups.map((group, number) => [group, number]));
    const sorted = [...groups].sort((a, b) => sign * (by === "test" ? place.get(a) - place.get(b)
      : rank(a, +by) - rank(b, +by) || far(b, +by) - far(a, +by)) || place.get(a) - place.get(b));
    table.append(...sorted);
  };

  // As harness.report.quantities.change says it.
  const say = (value, base) => {
    if (base === 0) return value ? "" : "0 %";
    const ratio = value / base;
    if (ratio >= 10) return `×${ratio.toFixed(0)}`;
    const percent = 100 * (ratio - 1) * (base > 0 ? 1 : -1);
    const text = percent.toFixed(Math.abs(percent) < 10 ? 1 : 0);
    return +text ? `${percent > 0 ? "+" : ""}${text} %` : "0 %";
  };
  const compare = (reference) => {
    for (const row of table.querySelectorAll("tbody tr")) {
      const base = row.cells[reference + 1];
      for (const cell of [...row.cells].slice(1)) {
        const note = cell.querySelector("u"), { v, e } = cell.dataset;
        let words = "", trend = "";
        if (cell !== base && v !== undefined && base.dataset.v !== undefined) {
          words = say(+v, +base.dataset.v);
          if (e !== undefined && base.dataset.e !== undefined && Math.abs(v - base.dataset.v) > +e + +base.dataset.e)
            trend = (+v > +base.dataset.v) === (row.dataset.b === "higher") ? "better" : "worse";
        } else if (v === undefined && base.className && base.className !== "none" && base.className !== cell.className
                   && cell.querySelector("a")) words = `≠ ${base.querySelector("a").textContent}`;
        if (note) { note.textContent = words; note.className = trend; }
        else if (words) (cell.querySelector("small") ?? cell.querySelector("b") ?? cell.querySelector("a"))
          .after(" ", Object.assign(document.createElement("u"), { textContent: words, className: trend }));
      }
    }
    names.forEach((head, number) => { head.querySelector(".ref").textContent = number === reference ? "reference" : ""; });
    table.caption.textContent = table.caption.textContent.replace(/the difference to .*?, and/,
      () => `the difference to ${names[reference].dataset.name}, and`);
  };

  // One stop of the Tab key for the whole table; arrows go from cell to cell.
  let stop = null;
  const focus = (cell) => {
    const link = cell?.querySelector("a[href]");
    if (!link) return false;
    stop.tabIndex = -1;
    stop = link;
    link.tabIndex = 0;
    link.focus();
    return true;
  };
  table.addEventListener("keydown", (event) => {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    const cell = event.target.closest("td");
    if (!cell || (!down && !right) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (right) {
      for (let next = cell; (next = right > 0 ? next.nextElementSibling : next.previousElementSibling);) if (focus(next)) return;
    } else {
      const rows = [...table.rows].filter((row) => !row.parentElement.hidden), at = rows.indexOf(cell.parentElement);
      for (let number = at + down; rows[number]; number += down) if (focus(rows[number].cells[cell.cellIndex])) return;
    }
  });

  for (const id of ["words", "state", "suite", "differ"]) $(id).addEventListener("input", filter);
  $("reference").addEventListener("input", () => compare(+$("reference").value));
  $("ask").addEventListener("submit", (event) => event.preventDefault());
  heads.forEach((button) => button.addEventListener("click", () => sort(button)));
  $("count").textContent = `${groups.length} tests`;
  $("ask").hidden = false;
  // One tab stop at first, and then, a few at a time, whatever is out of view: only what is laid out is in the tree that
  // screen readers read.
  let next = 0;
  const complete = (left) => {
    do {
      const group = groups[next++];
      if (!group) return;
      group.style.contentVisibility = "visible";
      for (const link of group.querySelectorAll("a[href]")) if (stop) link.tabIndex = -1; else stop = link;
    } while (next % 25 && left.timeRemaining() > 2);
    requestIdleCallback(complete);
  };
  requestIdleCallback(complete);
}
