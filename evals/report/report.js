"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);

  // Texts only ever enter the page as text nodes.
  const make = (tag, { cls, text, ...attributes } = {}, children = []) => {
    const node = document.createElement(tag);
    if (cls) node.className = cls;
    if (text !== undefined) node.textContent = text;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const draw = (tag, attributes, text) => {
    const node = document.createElementNS($("scatter").namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const percent = (thousandths) => (thousandths / 10).toFixed(1);
  const signed = (thousandths) => {
    const text = percent(Math.abs(thousandths));
    return text === "0.0" ? text : (thousandths > 0 ? "+" : "−") + text;
  };
  const count = (number) => number.toLocaleString("en");
  const shortened = (name, length) => (name.length <= length ? name : `${name.slice(0, length / 2 - 1)}…${name.slice(-length / 2)}`);

  // Sets fold under their scenario.
  const fold = (table) => {
    const open = (body, isOpen) => {
      body.querySelector("button.title").setAttribute("aria-expanded", String(isOpen));
      for (const row of body.querySelectorAll("tr.set")) row.hidden = !isOpen;
    };
    const bodies = [...table.tBodies];
    for (const body of bodies) {
      const title = body.querySelector(".scenario .title");
      const button = make("button", { cls: "title", text: title.textContent, type: "button" });
      title.replaceWith(button);
      open(body, false);
      button.addEventListener("click", () => open(body, button.getAttribute("aria-expanded") === "false"));
    }
    table.classList.add("is-folding");
    const all = make("button", { cls: "all", text: "Show all sets", type: "button" });
    all.addEventListener("click", () => {
      const isOpen = all.textContent === "Show all sets";
      for (const body of bodies) open(body, isOpen);
      all.textContent = isOpen ? "Hide sets" : "Show all sets";
    });
    table.closest(".scroll").before(all);
  };

  // The scatter: queries with the same pair of values are one circle, whose area is their number.
  const PLOT = { left: 44, right: 356, top: 4, bottom: 316, inset: 18 };
  const place = (value, from, to) => from + (value / 1000) * (to - from);
  const across = (value) => place(value, PLOT.left + PLOT.inset, PLOT.right - PLOT.inset);
  const up = (value) => place(value, PLOT.bottom - PLOT.inset, PLOT.top + PLOT.inset);

  const frame = (nameA, nameB) => {
    const nodes = [];
    for (const value of [0, 250, 500, 750, 1000]) {
      nodes.push(draw("path", { class: "grid", d: `M${across(value)} ${PLOT.top}V${PLOT.bottom}` }));
      nodes.push(draw("path", { class: "grid", d: `M${PLOT.left} ${up(value)}H${PLOT.right}` }));
      nodes.push(draw("text", { class: "tick", x: across(value), y: PLOT.bottom + 15 }, String(value / 10)));
      nodes.push(draw("text", { class: "tick last", x: PLOT.left - 6, y: up(value) + 4 }, String(value / 10)));
    }
    nodes.push(draw("path", { class: "diagonal", d: `M${across(0)} ${up(0)}L${across(1000)} ${up(1000)}` }));
    nodes.push(draw("text", { class: "axis", x: (PLOT.left + PLOT.right) / 2, y: 352 }, `${shortened(nameA, 40)} →`));
    nodes.push(draw("text", { class: "axis", transform: "translate(10 160) rotate(-90)" }, `${shortened(nameB, 40)} →`));
    return nodes;
  };

  const circles = (pairs, nameA, nameB) => {
    const groups = new Map();
    for (const pair of pairs) {
      const key = pair.join();
      groups.set(key, { pair, number: (groups.get(key)?.number ?? 0) + 1 });
    }
    const sorted = [...groups.values()].sort((one, other) => other.number - one.number);
    const unit = Math.min(3.5, 17 / Math.sqrt(sorted[0]?.number ?? 1));
    return sorted.map(({ pair: [a, b], number }) => {
      const kind = b > a ? "gain" : b < a ? "loss" : "";
      const radius = Math.max(1.6, unit * Math.sqrt(number)).toFixed(2);
      const node = draw("circle", { class: `query ${kind}`, cx: across(a).toFixed(1), cy: up(b).toFixed(1), r: radius });
      const noun = number === 1 ? "query" : "queries";
      node.append(draw("title", {}, `${count(number)} ${noun}: ${nameA} ${percent(a)}, ${nameB} ${percent(b)}`));
      return node;
    });
  };

  const drawPair = (set, a, b) => {
    const [nameA, nameB] = [data.systems[a], data.systems[b]];
    const pairs = [];
    set.values[a].forEach((value, row) => {
      const other = set.values[b][row];
      if (value !== null && other !== null) pairs.push([value, other]);
    });
    $("scatter").replaceChildren(...frame(nameA, nameB), ...circles(pairs, nameA, nameB));
    const better = pairs.filter(([one, other]) => other > one).length;
    const worse = pairs.filter(([one, other]) => other < one).length;
    const difference = set.means[b] - set.means[a];
    $("scatter-text").textContent =
      `${set.key}: ${nameA} ${percent(set.means[a])}, ${nameB} ${percent(set.means[b])}, ` +
      `a difference of ${signed(difference)} points.`;
    const rows = [
      [better, `queries that ${nameB} answers better, above the line`],
      [pairs.length - better - worse, "equal, on the line"],
      [worse, `that ${nameA} answers better, below the line`],
    ];
    $("counts").replaceChildren(
      ...rows.flatMap(([number, text]) => [make("dt", { text: count(number) }), make("dd", { text })]),
    );
    const part = pairs.length < set.queries ? ` Drawn: ${count(pairs.length)} of ${count(set.queries)} queries, evenly spread.` : "";
    $("scatter-note").textContent = `${data.metric} of each query in per cent. Queries with the same two values are one circle; its area is their number.${part}`;
  };

  // Queries in full.
  const hitOf = (set, [place, judged], rank) => {
    const [id, text] = typeof place === "number" ? set.documents[place] : [place, null];
    const isRelevant = judged !== null && judged > 0;
    const body = make("span", { dir: "auto" });
    if (isRelevant) body.append(make("span", { cls: "judged", text: judged > 1 ? `✓ relevant (${judged})` : "✓ relevant" }));
    else if (judged !== null) body.append(make("span", { cls: "judged no", text: "judged not relevant" }));
    if (text !== null) body.append(text, " ");
    body.append(make("span", { cls: "document-id", text: id }));
    return make("li", { cls: isRelevant ? "relevant" : "" }, [make("span", { cls: "place", text: String(rank + 1) }), body]);
  };

  const sideOf = (set, example, system) => {
    const hits = example.hits[system];
    const first = example.first[system];
    const side = make("section", {}, [
      make("h4", { text: `${data.systems[system]}: ${percent(example.values[system])}` }),
    ]);
    if (hits === null) side.append(make("p", { cls: "rank", text: "The ranking is not at hand." }));
    else {
      const known = example.text !== null;
      const rank = first !== null ? `First relevant document at rank ${first}.` : "No relevant document in its ranking.";
      side.append(make("p", { cls: "rank", text: hits.length === 0 ? "Nothing found." : known ? rank : "Judgements are not at hand." }));
      side.append(make("ol", {}, hits.map((hit, row) => hitOf(set, hit, row))));
    }
    return side;
  };

  const exampleOf = (set, example, a, b, isOpen) => {
    const change = example.values[b] - example.values[a];
    const words = make("span", { cls: "query", dir: "auto" });
    for (const [role, text] of example.history) words.append(make("span", { cls: "history", text: `${role}: ${text}` }));
    if (example.text !== null) words.append(example.text);
    words.append(make("span", { cls: "id", text: example.id }));
    const details = make("details", { cls: "example" }, [
      make("summary", {}, [make("span", { cls: `change ${change > 0 ? "gain" : "loss"}`, text: signed(change) }), words]),
      make("div", { cls: "sides" }, [sideOf(set, example, a), sideOf(set, example, b)]),
    ]);
    details.open = isOpen;
    return details;
  };

  const listChanges = (set, a, b) => {
    const known = set.examples.filter(({ values }) => values[a] !== null && values[b] !== null);
    const changeOf = ({ values }) => values[b] - values[a];
    const sides = [
      ["gained", known.filter((each) => changeOf(each) > 0).sort((one, other) => changeOf(other) - changeOf(one))],
      ["lost", known.filter((each) => changeOf(each) < 0).sort((one, other) => changeOf(one) - changeOf(other))],
    ];
    for (const [name, examples] of sides) {
      const shown = examples.slice(0, set.perSide);
      $(`${name}-title`).textContent = `Queries that ${name} most with ${data.systems[b]}`;
      const none = set.perSide ? "None." : "Left out: the page would be too large.";
      $(name).replaceChildren(
        ...(shown.length
          ? shown.map((each, row) => exampleOf(set, each, a, b, row === 0))
          : [make("p", { cls: "note", text: none })]),
      );
    }
  };

  const compare = () => {
    const choices = [$("set"), $("across"), $("up")];
    const sets = data.sets.filter(({ values }) => values.filter((column) => column !== null).length > 1);
    if (!sets.length) return;
    sets.forEach((set, row) => $("set").append(make("option", { value: row, text: `${set.scenario}: ${set.key}` })));
    const systems = (set) => data.systems.map((_, place) => place).filter((place) => set.values[place] !== null);
    const fill = () => {
      const there = systems(sets[$("set").value]);
      const before = [$("across").value, $("up").value];
      for (const choice of [$("across"), $("up")])
        choice.replaceChildren(...there.map((place) => make("option", { value: place, text: data.systems[place] })));
      const pick = (choice, value, fallback) => {
        choice.value = there.includes(Number(value)) && value !== "" ? value : String(fallback);
      };
      pick($("across"), before[0], there.includes(data.baseline) ? data.baseline : there[0]);
      pick($("up"), before[1], there.find((place) => String(place) !== $("across").value));
    };
    const show = () => {
      const set = sets[$("set").value];
      const [a, b] = [Number($("across").value), Number($("up").value)];
      drawPair(set, a, b);
      listChanges(set, a, b);
    };
    for (const choice of choices)
      choice.addEventListener("change", () => {
        if (choice === $("set")) fill();
        show();
      });
    fill();
    show();
    $("pair").hidden = false;
  };

  for (const table of document.querySelectorAll("table.heat")) fold(table);
  if ($("pair")) compare();
})();
