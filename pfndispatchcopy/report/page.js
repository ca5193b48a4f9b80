"use strict";
(() => {
  const data = (id) => JSON.parse(document.getElementById(id).textContent);
  const at = (id) => document.getElementById(id);
  const page = data("page");
  const rows = data("rows");
  if (!rows.length) return;
  // A row: path, bytes, digests, one letter for each column of states, and what went wrong by column.
  const PATH = 0, SIZE = 1, DIGESTS = 2, STATES = 3, ERRORS = 4;
  const LENGTH = 100;
  const ranks = new Map(Object.entries(page.states).map(([letter, [, tone]]) => [letter, page.tones.indexOf(tone)]));
  const digits = new Intl.NumberFormat("en");

  const isProblem = (row) => row.length > ERRORS || [...row[STATES]].some((letter) => ranks.get(letter) === 0);
  const digestsOf = (row) => page.hashes.length === 1 ? row[DIGESTS] :
    row[DIGESTS].map((digest, number) => digest && `${page.hashes[number]} ${digest}`).filter(Boolean).join("\n");
  const columns = [
    { name: "Path", key: "path", value: (row) => row[PATH] },
    { name: "Bytes", key: "size", value: (row) => row[SIZE], isNumber: true },
    ...page.columns.map((name, number) => ({
      name, key: `state${number + 1}`, value: (row) => ranks.get(row[STATES][number]) + row[STATES][number], number,
    })),
    { name: page.digestsHeading, key: "digest", value: digestsOf, isDigest: true },
  ];

  // Where something is wrong, that comes first, until somebody wants another order.
  const inOrder = [...rows.filter(isProblem), ...rows.filter((row) => !isProblem(row))];
  const wish = { q: "", show: "all", sort: "", down: false, page: 0 };
  let found = inOrder;

  const make = (tag, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    return element;
  };

  const fill = (body, some) => {
    const lines = document.createDocumentFragment();
    for (const row of some) {
      const line = make("tr", undefined, isProblem(row) ? "problem" : "");
      const head = make("th", row[PATH]);
      head.scope = "row";
      for (const message of row[ERRORS] || []) head.append(make("span", message, "error"));
      line.append(head, make("td", digits.format(row[SIZE]), "number"));
      for (const letter of row[STATES]) {
        const [word, tone] = page.states[letter];
        line.append(make("td", `${page.signs[tone]} ${word}`, tone));
      }
      line.append(make("td", digestsOf(row), page.hashes.length === 1 ? "digest" : "digest long"));
      lines.append(line);
    }
    body.replaceChildren(lines);
  };

  const select = () => {
    const needle = wish.q.trim().toLowerCase();
    const letters = page.shows[wish.show];
    found = wish.sort ? rows : inOrder;
    if (wish.show === "problems") found = found.filter(isProblem);
    else if (letters) found = found.filter((row) => [...row[STATES]].some((letter) => letters.includes(letter)));
    if (needle) {
      found = found.filter((row) => row[PATH].toLowerCase().includes(needle) || digestsOf(row).toLowerCase().includes(needle));
    }
    const column = columns.find((each) => each.key === wish.sort);
    if (column && (column !== columns[0] || wish.down)) {
      const keyed = found.map((row, number) => [column.value(row), number, row]);
      const way = wish.down ? -1 : 1;
      keyed.sort((one, other) => (one[0] < other[0] ? -way : one[0] > other[0] ? way : one[1] - other[1]));
      found = keyed.map((each) => each[2]);
    }
    wish.page = Math.max(0, Math.min(wish.page, Math.ceil(found.length / LENGTH) - 1));
  };

  const show = () => {
    const first = wish.page * LENGTH;
    const some = found.slice(first, first + LENGTH);
    fill(at("body"), some);
    at("nothing").hidden = found.length > 0;
    at("where").textContent = found.length
      ? `${digits.format(first + 1)}–${digits.format(first + some.length)} of ${digits.format(found.length)}` : "0 files";
    at("back").disabled = wish.page === 0;
    at("on").disabled = first + LENGTH >= found.length;
    for (const head of at("columns").children) {
      const isSorted = head.dataset.key === wish.sort;
      head.setAttribute("aria-sort", isSorted ? (wish.down ? "descending" : "ascending") : "none");
    }
    at("find").value = wish.q;
    at("show").value = wish.show;
  };

  const renew = (changes) => {
    Object.assign(wish, { page: 0 }, changes);
    select();
    show();
  };

  // What is wished can stand in the address, so that a link leads to it.
  const obey = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    const names = ["q", "show", "sort", "page"].filter((name) => asked.has(name));
    if (!names.length) return;
    const show = asked.get("show") || "all", sort = asked.get("sort") || "";
    renew({
      q: asked.get("q") || "",
      show: Object.hasOwn(page.shows, show) || show === "problems" ? show : "all",
      sort: columns.some((each) => each.key === sort.replace("-", "")) ? sort.replace("-", "") : "",
      down: sort.startsWith("-"),
      page: Math.max(0, (parseInt(asked.get("page"), 10) || 1) - 1),
    });
    at("files").scrollIntoView();
  };

  for (const column of columns) {
    const head = make("th", undefined, column.isNumber ? "number" : "");
    head.scope = "col";
    head.dataset.key = column.key;
    const button = make("button", column.name);
    button.type = "button";
    button.addEventListener("click", () => renew({ sort: column.key, down: wish.sort === column.key && !wish.down }));
    head.append(button);
    at("columns").append(head);
  }
  const choices = [["all", "all files", rows.length], ["problems", "problems", rows.filter(isProblem).length]];
  for (const word of Object.keys(page.shows)) {
    const letters = page.shows[word];
    choices.push([word, word, rows.filter((row) => [...row[STATES]].some((letter) => letters.includes(letter))).length]);
  }
  for (const [value, text, count] of choices) {
    const option = make("option", `${text} (${digits.format(count)})`);
    option.value = value;
    at("show").append(option);
  }
  at("find").addEventListener("input", (event) => renew({ q: event.target.value }));
  at("show").addEventListener("change", (event) => renew({ show: event.target.value }));
  at("back").addEventListener("click", () => { wish.page -= 1; show(); });
  at("on").addEventListener("click", () => { wish.page += 1; show(); });
  at("controls").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", obey);

  // Paper has no pages to turn: every problem, and as many of the others as are still read.
  addEventListener("beforeprint", () => {
    const problems = rows.filter(isProblem).length;
    const some = inOrder.slice(0, problems + page.mostPrinted);
    const table = make("table");
    const head = make("tr");
    for (const column of columns) {
      const cell = make("th", column.name, column.isNumber ? "number" : "");
      cell.scope = "col";
      head.append(cell);
    }
    const top = make("thead"), body = make("tbody");
    top.append(head);
    fill(body, some);
    table.append(top, body);
    const left = rows.length - some.length;
    const note = left ? [make("p", `${digits.format(left)} more files, all of them good, are in the page itself.`, "more")] : [];
    at("paper").replaceChildren(table, ...note);
  });
  addEventListener("afterprint", () => at("paper").replaceChildren());

  at("controls").hidden = at("screen").hidden = false;
  renew({ sort: inOrder[0] === rows[0] ? "path" : "" });
  obey();
})();
