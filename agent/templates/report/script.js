/* Sorting, filtering, copying and saving. Nothing of the report needs it to be read. */
"use strict";
(() => {
  const make = (name, text, attributes) => {
    const element = document.createElement(name);
    element.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    return element;
  };
  const button = (text, label, act) => {
    const element = make("button", text, { type: "button", class: "action", "aria-label": label });
    element.addEventListener("click", () => act(element));
    return element;
  };
  const say = (element, text) => {
    const before = element.textContent;
    element.textContent = text;
    setTimeout(() => { element.textContent = before; }, 1500);
  };

  const value = (cell) => {
    const number = Number(cell.dataset.value ?? cell.textContent.replaceAll(" ", ""));
    return Number.isNaN(number) ? cell.textContent : number;
  };
  for (const table of document.querySelectorAll("table[data-sort]")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const press = make("button", head.textContent, { type: "button" });
      head.replaceChildren(press);
      press.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const bodies = [...table.tBodies];
        const sizes = bodies.map((body) => body.rows.length);
        const rows = bodies.flatMap((body) => [...body.rows]).map((row) => [value(row.cells[column]), row]);
        rows.sort(([one], [other]) => {
          const order = typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other));
          return up ? order : -order;
        });
        let next = 0;
        bodies.forEach((body, index) => {
          body.append(...rows.slice(next, next + sizes[index]).map(([, row]) => row));
          next += sizes[index];
        });
      });
    });
  }

  let filters = 0;
  for (const list of document.querySelectorAll("[data-filter]")) {
    const items = list.tBodies ? [...list.tBodies].flatMap((body) => [...body.rows]) : [...list.children];
    if (items.length < 6 || list.matches("ol.folded")) continue;
    const rest = list.tBodies ? null : list.nextElementSibling?.nextElementSibling;
    const more = rest?.matches("ol.folded") ? [...rest.children] : [];
    const all = items.concat(more);
    const texts = all.map((item) => item.textContent.toLowerCase());
    const id = `filter-${filters += 1}`;
    const line = make("p", "", { class: "filter" });
    const input = make("input", "", { id, type: "search", autocomplete: "off", spellcheck: "false" });
    const count = make("span", "", { role: "status" });
    line.append(make("label", `Filter ${list.dataset.filter}`, { for: id }), input, count);
    const place = list.tBodies ? list.parentElement : list;
    const fold = place.previousElementSibling?.matches(".fold") ? place.previousElementSibling : place;
    fold.before(line);
    input.addEventListener("input", () => {
      const wanted = input.value.toLowerCase();
      let shown = 0;
      all.forEach((item, index) => {
        const fits = texts[index].includes(wanted);
        item.hidden = !fits;
        shown += fits ? 1 : 0;
      });
      count.textContent = wanted ? `${shown} of ${all.length}` : "";
      const box = (fold === place ? rest && rest.previousElementSibling : fold)?.querySelector("input");
      if (box && wanted) box.checked = true;
    });
  }

  if (navigator.clipboard) {
    for (const text of document.querySelectorAll(".copy")) {
      const words = text.textContent;
      text.after(button("Copy", text.tagName === "PRE" ? `Copy ${text.getAttribute("aria-label")}` : `Copy ${words}`, (press) => {
        navigator.clipboard.writeText(words).then(() => say(press, "Copied"), () => say(press, "Not allowed"));
      }));
    }
  }

  for (const place of document.querySelectorAll(".download")) {
    const { document: id, name } = place.dataset;
    const save = button("Save", `Save ${name}`, () => {
      const text = document.getElementById(id).textContent.replaceAll("\\u003c", "<");
      const link = make("a", "", { download: name });
      link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    place.append(save);
  }
})();
