{
  const data = JSON.parse($("data").textContent);
  // [kind, title, description, output, [parameters, statistics, MACs, FLOPs], children, arrays];
  // children are [name, part, whether its weights are another's].
  const parts = data.parts.map(([kind, title, description, output, cost, children, arrays]) => ({
    kind, title, description, output, children, arrays,
    parameters: cost[0], statistics: cost[1], macs: cost[2], flops: cost[3],
  }));
  const root = parts[data.root];
  const uses = parts.map(() => 0);
  uses[data.root] = 1;
  for (let index = data.root; index >= 0; index--) {
    for (const [, child] of parts[index].children) uses[child] += uses[index];
  }

  const EXCERPT = 8; // So many lines are shown of one.
  const tree = $("tree");
  const details = $("details");
  const outline = tree.parentElement;
  const workbench = tree.closest(".workbench");
  const nodes = new WeakMap(); // From an element of the tree to what it shows.

  // A part at its place: `owner` is the block whose class makes it, `place` its name there.
  const placed = (name, index, parent, again) => {
    const inSequence = parent !== null && parent.part.kind === "sequence";
    const owner = parent === null ? null : inSequence ? parent.owner : parent.part.title;
    return {
      part: parts[index], index, parent, again, owner,
      name: name,
      place: inSequence ? `${parent.place}.${name}` : name,
      outer: inSequence ? parent.place : null,
      path: parent === null || parent.parent === null ? name : `${parent.path}.${name}`,
      level: parent === null ? 1 : parent.level + 1,
      item: null,
    };
  };

  const cost = (kind, value, whole) => {
    const bar = element("i");
    bar.style.setProperty("--share", share(value, whole));
    const none = value ? "" : " none";
    return element("span", { class: `cost ${kind}${none}`, title: percent(share(value, whole)) },
      element("b", {}, value ? scaled(value) : "–"), bar);
  };

  const row = (part, parameters, again) =>
    element("div", { class: "row" },
      element("span", { class: "label" },
        element("span", { class: "twist" }),
        element("span", { class: "name" }),
        element("span", { class: "what" }, part === root ? "the whole network" : part.title),
        again ? element("span", { class: "again" }, "weights again") : null),
      element("span", { class: "output" }, shape(part.output)),
      cost("parameters", parameters, root.parameters), cost("macs", part.macs, root.macs));

  // Equal parts look alike but for their names: each is made once and copied.
  const models = new Map();
  const model = ({ part, index, again }) => {
    const key = again ? -1 - index : index;
    if (!models.has(key)) {
      const parameters = again ? 0 : part.parameters;
      models.set(key, {
        item: element("li", {
          role: "treeitem", tabindex: "-1", "aria-selected": "false",
          class: part.children.length ? part.kind : "leaf operation",
          "aria-expanded": part.children.length ? "false" : null,
        }, row(part, parameters, again)),
        label: `${part.title}, output ${part.output.join(" by ")}, ` +
          `${integer(parameters)} parameters, ${percent(share(parameters, root.parameters))}, ` +
          `${integer(part.macs)} multiply-accumulates, ${percent(share(part.macs, root.macs))}`,
      });
    }
    return models.get(key);
  };

  const make = (node, position, size) => {
    const { item: original, label } = model(node);
    const item = original.cloneNode(true);
    item.setAttribute("aria-level", node.level);
    item.setAttribute("aria-posinset", position);
    item.setAttribute("aria-setsize", size);
    item.setAttribute("aria-label", `${node.name}, ${label}`);
    const heading = item.firstElementChild.firstElementChild;
    heading.style.paddingLeft = `${(node.level - 1) * 1.15}rem`;
    heading.children[1].textContent = node.name;
    node.item = item;
    nodes.set(item, node);
    return item;
  };

  const isOpen = (item) => item.getAttribute("aria-expanded") === "true";
  const groupOf = (item) => item.querySelector(":scope > [role=group]");
  const setOpen = (item, open) => {
    const node = nodes.get(item);
    if (!node.part.children.length) return;
    if (open && !groupOf(item)) {
      // Children are made when they are first shown: a network has thousands.
      const size = node.part.children.length;
      item.append(element("ul", { role: "group" }, ...node.part.children.map(
        ([name, index, again], at) => make(placed(name, index, node, again), at + 1, size))));
    }
    const group = groupOf(item);
    if (group) group.hidden = !open;
    item.setAttribute("aria-expanded", String(open));
  };
  const setAll = (open) => {
    const visit = (item) => {
      if (open || nodes.get(item).parent !== null) setOpen(item, open);
      for (const child of groupOf(item)?.children ?? []) visit(child);
    };
    visit(tree.firstElementChild);
    if (!open) choose(tree.firstElementChild);
    show(chosen);
  };

  // Code.
  const columns = [...document.querySelectorAll(".column")].map((column, index) => {
    const lines = [...column.querySelectorAll(".l")];
    return { column, lines, pane: column.querySelector("pre"), classes: data.code[index], marked: [] };
  });
  const spans = (node, classes) => {
    const own = node.part.kind === "block" ? classes[node.part.title] : null;
    const places = node.owner === null ? {} : classes[node.owner]?.[2] ?? {};
    const found = places[node.place] ?? (node.outer === null ? [] : places[node.outer] ?? []);
    return { region: own ? [[own[0], own[1]]] : [], marks: found };
  };
  const paint = ({ column, lines, marked }, { region, marks }) => {
    for (const line of marked) line.classList.remove("mark", "region");
    marked.length = 0;
    for (const [name, list] of [["region", region], ["mark", marks]]) {
      for (const [first, last] of list) {
        for (const line of lines.slice(first - 1, last)) {
          line.classList.add(name);
          marked.push(line);
        }
      }
    }
  };
  const reveal = ({ pane, lines }, { region, marks }) => {
    const [first] = region.length ? region : marks;
    if (!first) return;
    const top = lines[first[0] - 1].offsetTop - pane.offsetTop;
    const bottom = lines[first[1] - 1].offsetTop - pane.offsetTop + lines[0].offsetHeight;
    // Of the pane, what the window shows.
    const shown = Math.max(innerHeight - pane.getBoundingClientRect().top, 4 * lines[0].offsetHeight);
    const height = Math.min(pane.clientHeight, shown);
    const above = top < pane.scrollTop;
    const below = Math.min(bottom, top + height / 2) > pane.scrollTop + height;
    const before = region.length ? 2 * lines[0].offsetHeight : height / 3;
    if (above || below) pane.scrollTop = top - before;
  };
  const mark = (node, move) => {
    for (const column of columns) {
      const found = spans(node, column.classes);
      paint(column, found);
      if (move) reveal(column, found);
    }
  };

  // The lines that make and call a part, by framework, without what they are indented by.
  const excerpts = (node) => {
    const found = columns.map(({ lines, classes }) =>
      spans(node, classes).marks.flatMap(([first, last]) => lines.slice(first - 1, last)));
    if (!found.some((lines) => lines.length)) return [];
    const indent = (line) => line.textContent.search(/\S|$/);
    return [
      element("h4", {}, `In ${node.owner}`),
      ...found.flatMap((lines, at) => {
        if (!lines.length) return [];
        const copies = lines.slice(0, EXCERPT).map((line) => line.cloneNode(true));
        const common = Math.min(...lines.map(indent));
        for (const copy of copies) {
          copy.classList.remove("mark", "region");
          const first = copy.firstChild;
          if (first.nodeType === Node.TEXT_NODE) first.data = first.data.slice(common);
        }
        if (lines.length > EXCERPT) copies.push(element("span", { class: "l" }, "..."));
        return [element("div", { class: "path" }, data.frameworks[at]),
          element("pre", { tabindex: "0", "aria-label": data.frameworks[at] }, element("code", {}, ...copies))];
      }),
    ];
  };

  // What is chosen.
  let chosen = null;
  const pair = (title, ...value) => element("tr", {}, element("th", { scope: "row" }, title),
    element("td", {}, ...value));
  const ofWhole = (value, whole) => `${integer(value)}, ${percent(share(value, whole))}`;
  const describe = (node) => {
    const { part, again } = node;
    const parameters = again ? 0 : part.parameters;
    const times = uses[node.index];
    details.replaceChildren(
      element("h3", {}, part.kind === "sequence" ? node.name : part.title),
      element("div", { class: "path" }, node.path),
      element("p", {}, part.kind === "sequence" ? part.title : part.description),
      element("table", {}, element("tbody", {},
        pair("Output", shape(part.output)),
        pair("Parameters", ofWhole(parameters, root.parameters)),
        part.statistics && !again ? pair("BN statistics", integer(part.statistics)) : null,
        pair("MACs", ofWhole(part.macs, root.macs)),
        pair("FLOPs", integer(part.flops)),
        times > 1 ? pair("Such parts", `${integer(times)} in the network`) : null,
        again ? pair("Weights", "of another, used again") : null)),
      part.arrays.length ? element("table", {},
        element("caption", {}, "Arrays, canonical names and layout"),
        element("tbody", {}, ...part.arrays.map(([leaf, sizes]) => pair(leaf, shape(sizes))))) : "",
      ...excerpts(node),
    );
  };
  const choose = (item) => {
    if (chosen) {
      chosen.setAttribute("aria-selected", "false");
      chosen.tabIndex = -1;
    }
    chosen = item;
    item.setAttribute("aria-selected", "true");
    item.tabIndex = 0;
    describe(nodes.get(item));
    mark(nodes.get(item), true);
  };
  const show = (item) => {
    const line = item.firstElementChild;
    const top = line.getBoundingClientRect().top - outline.getBoundingClientRect().top;
    if (top < 40) outline.scrollTop += top - 40;
    const over = top + line.offsetHeight - outline.clientHeight;
    if (over > 0) outline.scrollTop += over + 8;
  };
  const go = (item) => {
    if (!item) return;
    choose(item);
    item.focus({ preventScroll: true });
    show(item);
  };

  const next = (item) => {
    if (isOpen(item)) return groupOf(item).firstElementChild;
    for (let at = item; at !== tree; at = at.parentElement.closest("[role=treeitem],[role=tree]")) {
      if (at.nextElementSibling) return at.nextElementSibling;
    }
    return null;
  };
  const last = (item) => (isOpen(item) ? last(groupOf(item).lastElementChild) : item);
  const previous = (item) =>
    item.previousElementSibling ? last(item.previousElementSibling) : parentOf(item);
  const parentOf = (item) => nodes.get(item).parent?.item ?? null;

  tree.addEventListener("keydown", (event) => {
    const item = event.target.closest("[role=treeitem]");
    if (!item || event.altKey || event.ctrlKey || event.metaKey) return;
    const toggle = () => setOpen(item, !isOpen(item));
    const actions = {
      ArrowDown: () => go(next(item)),
      ArrowUp: () => go(previous(item)),
      ArrowRight: () => {
        if (!nodes.get(item).part.children.length) return;
        if (isOpen(item)) go(groupOf(item).firstElementChild);
        else setOpen(item, true);
      },
      ArrowLeft: () => (isOpen(item) ? setOpen(item, false) : go(parentOf(item))),
      Home: () => go(tree.firstElementChild),
      End: () => go(last(tree.firstElementChild)),
      Enter: toggle,
      " ": toggle,
      "*": () => { for (const sibling of item.parentElement.children) setOpen(sibling, true); },
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
    if (innerHeight >= workbench.offsetHeight) workbench.scrollIntoView({ block: "nearest" });
  });
  tree.addEventListener("click", (event) => {
    const item = event.target.closest("[role=treeitem]");
    if (!item) return;
    const again = item === chosen || event.target.classList.contains("twist");
    if (again || !isOpen(item)) setOpen(item, !isOpen(item));
    go(item);
  });
  tree.addEventListener("focus", () => go(chosen)); // From the skip link.

  // The pointer marks what it is over, in every column; then what is chosen is marked again.
  let waiting = 0;
  tree.addEventListener("pointerover", (event) => {
    const item = event.target.closest(".row")?.parentElement;
    if (!item || event.pointerType === "touch") return;
    mark(nodes.get(item), false);
    clearTimeout(waiting);
    waiting = setTimeout(() => mark(nodes.get(item), true), 180);
  });
  tree.addEventListener("pointerleave", () => {
    clearTimeout(waiting);
    mark(nodes.get(chosen), true);
  });
  const under = (column, line) => {
    // The smallest place that holds the line, or the class around it.
    let best = null;
    for (const [name, [first, end, places]] of Object.entries(column.classes)) {
      if (line < first || line > end) continue;
      best = { name, place: null, size: end - first + 1 };
      for (const [place, list] of Object.entries(places)) {
        for (const [start, stop] of list) {
          const size = stop - start + 1;
          if (start <= line && line <= stop && size < best.size) best = { name, place, size };
        }
      }
    }
    return best;
  };
  for (const source of columns) {
    source.pane.addEventListener("pointerover", (event) => {
      const line = source.lines.indexOf(event.target.closest(".l")) + 1;
      const found = line ? under(source, line) : null;
      if (!found || event.pointerType === "touch") return;
      for (const column of columns) {
        const own = column.classes[found.name];
        const wanted = { region: own ? [[own[0], own[1]]] : [], marks: own?.[2][found.place] ?? [] };
        paint(column, wanted);
        if (column !== source) reveal(column, { region: wanted.marks, marks: wanted.region });
      }
    });
    source.pane.addEventListener("pointerleave", () => mark(nodes.get(chosen), false));
  }

  // Where there is no room for columns, tabs.
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const turn = (index) => {
    tabs.forEach((tab, at) => {
      tab.setAttribute("aria-selected", String(at === index));
      tab.tabIndex = at === index ? 0 : -1;
      columns[at].column.classList.toggle("chosen", at === index);
    });
    mark(nodes.get(chosen), true);
  };
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => turn(index));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const to = (index + step + tabs.length) % tabs.length;
      turn(to);
      tabs[to].focus();
    });
  });
  if (tabs.length > 1) tabs[0].parentElement.hidden = false;

  tree.append(make(placed(data.name, data.root, null, false), 1, 1));
  // What is open at first fills the space and no more.
  let open = [tree.firstElementChild];
  for (let rows = 1; open.length && rows <= 24;) {
    const inner = [];
    for (const item of open) {
      setOpen(item, true);
      inner.push(...groupOf(item).children);
    }
    rows += inner.length;
    open = inner.filter((item) => nodes.get(item).part.kind === "sequence");
    const more = open.reduce((sum, item) => sum + nodes.get(item).part.children.length, 0);
    if (rows + more > 24) break;
  }
  choose(tree.firstElementChild);
  $("open-all").addEventListener("click", () => setAll(true));
  $("close-all").addEventListener("click", () => setAll(false));
  $("open-all").parentElement.hidden = false;
}
