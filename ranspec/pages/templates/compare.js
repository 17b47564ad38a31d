{
  const data = JSON.parse($("data").textContent);
  const parts = data.parts.map(([kind, title, description, output, cost, children]) => ({
    kind, title, description, output, children, parameters: cost[0], macs: cost[2], flops: cost[3],
  }));
  const sizes = parts.map(() => 1);
  parts.forEach((part, index) => {
    for (const [, child] of part.children) sizes[index] += sizes[child];
  });
  const byName = new Map(data.networks.map((network) => [network.name, network]));
  const sides = { a: $("a"), b: $("b") };

  const table = (heads, rows) => element("table", {},
    element("thead", {}, element("tr", {}, ...heads.map(
      (head) => element("th", { scope: "col", class: head.side ? `mark-${head.side}` : null }, head.text ?? head)))),
    element("tbody", {}, ...rows.map(([first, ...others]) => element("tr", {},
      element("th", { scope: "row" }, first), ...others.map((text) => element("td", {}, text))))));
  const ratio = (a, b) => {
    if (a === b) return "equal";
    if (!a || !b) return "";
    const times = b / a;
    return times >= 2 ? `${times.toPrecision(3)} times` : `${times > 1 ? "+" : "−"}${(100 * Math.abs(times - 1)).toFixed(1)} %`;
  };
  const heads = [{ text: "First", side: "a" }, { text: "Second", side: "b" }];

  const figures = (a, b) => {
    const whole = [parts[a.root], parts[b.root]];
    const numbers = [
      ["Parameters", ...whole.map((part) => part.parameters)],
      ["MACs", ...whole.map((part) => part.macs)],
      ["FLOPs", ...whole.map((part) => part.flops)],
      ["Trunk depth", a.depth, b.depth],
      ["Operations", a.layers, b.layers],
      ["Bytes of activations", a.activations, b.activations],
    ];
    const error = (value) => (value === null ? "not printed" : `${value.toFixed(2)} %`);
    const apart = a.error === null || b.error === null ? ""
      : a.error === b.error ? "equal" : `${b.error > a.error ? "+" : "−"}${Math.abs(b.error - a.error).toFixed(2)}`;
    return table(["", ...heads, "Difference"], [
      ["Input", shape(a.input), shape(b.input), String(a.input) === String(b.input) ? "equal" : ""],
      ...numbers.map(([title, one, other]) => [title, integer(one), integer(other), ratio(one, other)]),
      ["Printed test error", error(a.error), error(b.error), apart],
    ]);
  };

  const specs = (a, b) => {
    const text = (index) =>
      index < 0 ? element("span", { class: "none" }, "not there") : data.values[index];
    const rows = data.keys
      .map((key, index) => [key, a.spec[index], b.spec[index]])
      .filter(([, one, other]) => one !== other)
      .map(([key, one, other]) => [key, text(one), text(other)]);
    return rows.length ? table(["Key", ...heads], rows)
      : element("p", { class: "quiet" }, "Both specs say the same.");
  };

  // Which children belong together: of blocks those of one name, of sequences those of one class
  // in order, so that as many operations as can be are in them.
  const pairs = (a, b) => {
    if (a.kind !== "sequence" || b.kind !== "sequence") {
      const others = new Map(b.children.map((child) => [child[0], child]));
      const found = [];
      for (const child of a.children) {
        found.push([child, others.get(child[0]) ?? null]);
        others.delete(child[0]);
      }
      return [...found, ...[...others.values()].map((child) => [null, child])];
    }
    const [left, right] = [a.children, b.children];
    const alike = (one, other) => parts[one[1]].title === parts[other[1]].title;
    const longest = Array.from({ length: left.length + 1 }, () => new Uint32Array(right.length + 1));
    for (let i = left.length - 1; i >= 0; i--) {
      for (let j = right.length - 1; j >= 0; j--) {
        longest[i][j] = alike(left[i], right[j]) ? longest[i + 1][j + 1] + sizes[left[i][1]]
          : Math.max(longest[i + 1][j], longest[i][j + 1]);
      }
    }
    const found = [];
    let [i, j] = [0, 0];
    const [removed, added] = [[], []];
    const flush = () => {
      // What one has in place of what the other has there.
      while (removed.length || added.length) found.push([removed.shift() ?? null, added.shift() ?? null]);
    };
    while (i < left.length || j < right.length) {
      if (i < left.length && j < right.length && alike(left[i], right[j])) {
        flush();
        found.push([left[i++], right[j++]]);
      } else if (j === right.length || (i < left.length && longest[i + 1][j] >= longest[i][j + 1])) {
        removed.push(left[i++]);
      } else {
        added.push(right[j++]);
      }
    }
    flush();
    return found;
  };
  // Neighbours that differ in the same way are told of once.
  const runs = (list) => {
    const found = [];
    for (const [one, other] of list) {
      const key = `${one ? one[1] : ""}/${other ? other[1] : ""}`;
      const run = found.at(-1);
      const numbered = /^\d+$/.test((one ?? other)[0]);
      if (run && run.key === key && numbered) run.last = [one, other];
      else found.push({ key, first: [one, other], last: [one, other], size: 0 });
      found.at(-1).size += 1;
    }
    return found;
  };
  const named = ([one, other]) => (one && other && one[0] !== other[0]
    ? `${one[0]} / ${other[0]}` : (one ?? other)[0]);
  const title = (run) => {
    const [first, last] = [named(run.first), named(run.last)];
    return run.size > 1 ? `${first} to ${last}` : first;
  };

  const OPEN = 2; // So many levels are open at first.
  const indented = (item, depth) => {
    item.style.setProperty("--depth", depth);
    return item;
  };
  const cell = (part, other) => {
    if (!part) return element("span", { class: "cell none" }, "–");
    const shown = (text, differs) => (differs ? element("em", {}, text) : text);
    const isOperation = part.kind === "operation";
    const said = isOperation && part.description ? part.description.split(", ") : [];
    const others = other ? other.description.split(", ") : said;
    return element("span", { class: "cell" },
      shown(part.title, other && part.title !== other.title),
      element("small", {},
        shown(shape(part.output), other && String(part.output) !== String(other.output)),
        part.parameters ? ", " : "",
        part.parameters ? shown(`${integer(part.parameters)} parameters`, other && part.parameters !== other.parameters) : "",
        ...said.flatMap((text) => [", ", shown(text, !others.includes(text))])));
  };
  const line = (run, depth) => {
    const [one, other] = run.first.map((child) => (child ? parts[child[1]] : null));
    const contents = [element("b", {}, title(run)), cell(one, other), cell(other, one)];
    const inner = one && other && one.children.length && other.children.length;
    if (!inner) {
      const only = one && other ? "" : one ? " only-a" : " only-b";
      return indented(element("div", { class: `line${only}` }, ...contents), depth);
    }
    const body = element("div");
    const summary = indented(element("summary", {}, ...contents), depth);
    const made = element("details", {}, summary, body);
    const fill = () => {
      if (!body.childElementCount) body.append(...lines(one, other, depth + 1));
    };
    made.addEventListener("toggle", fill);
    if (depth < OPEN) {
      fill();
      made.open = true;
    }
    return made;
  };
  const lines = (one, other, depth) => {
    const shown = [];
    let same = [];
    const flush = () => {
      if (!same.length) return;
      const names = same.length > 4 ? `${same.slice(0, 3).join(", ")} and ${same.length - 3} more` : same.join(", ");
      shown.push(indented(element("div", { class: "line same" }, `equal: ${names}`), depth));
      same = [];
    };
    for (const run of runs(pairs(one, other))) {
      const [left, right] = run.first;
      if (left && right && left[1] === right[1]) {
        same.push(one.kind === "sequence" ? `${parts[left[1]].title} (${title(run)})` : title(run));
      } else {
        flush();
        shown.push(line(run, depth));
      }
    }
    flush();
    return shown;
  };

  const compare = () => {
    const [a, b] = ["a", "b"].map((side) => byName.get(sides[side].value));
    $("card-a").href = a.file;
    $("card-b").href = b.file;
    $("figures").replaceChildren(figures(a, b));
    $("specs").replaceChildren(specs(a, b));
    const [one, other] = [a, b].map(({ root }) => JSON.stringify(parts[root].children));
    const equal = one === other;
    $("summary").textContent = equal ? "All blocks are equal, whatever their recipes say."
      : "Parts that are not equal; what differs is marked. Those that are equal are named alone.";
    $("blocks").replaceChildren(...(equal ? [] : [
      element("div", { class: "line heads" }, element("span", {}, "Block"),
        element("span", { class: "mark-a" }, a.name), element("span", { class: "mark-b" }, b.name)),
      line({ first: [["network", a.root], ["network", b.root]], last: [["network"], ["network"]], size: 1 }, 0),
    ]));
    document.title = `${a.name} and ${b.name} compared`;
    const fragment = `#a=${encodeURIComponent(a.name)}&b=${encodeURIComponent(b.name)}`;
    if (location.hash !== fragment) history.replaceState(null, "", fragment);
  };
  const read = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    const names = [...byName.keys()];
    sides.a.value = byName.has(asked.get("a")) ? asked.get("a") : names[0];
    const other = names.find((name) => name !== sides.a.value) ?? names[0];
    sides.b.value = byName.has(asked.get("b")) ? asked.get("b") : other;
    compare();
  };
  for (const select of Object.values(sides)) select.addEventListener("change", compare);
  $("swap").addEventListener("click", () => {
    [sides.a.value, sides.b.value] = [sides.b.value, sides.a.value];
    compare();
  });
  window.addEventListener("hashchange", read);
  $("choice").hidden = false;
  $("differences").hidden = false;
  read();
}
