// The explorer: the grid of groups, the picture with its overlay, and one group in detail.
// It holds the raw maps, so no control here needs the server.

const KIND_NAMES = { before: "before SGE", gate: "gate", after: "after SGE" };
const SORTS = {
  index: { label: "group number", help: "Groups in the network's order, counted from 0 (the paper counts from 1)." },
  gained: { label: "concentration gained", help: "Concentration is the share of a map's total norm that its strongest tenth of the cells holds. Gained: after SGE minus before, in percentage points.", gated: true },
  contrast: { label: "gate contrast", help: "Gate contrast is the largest minus the smallest gate over the map: how differently SGE treats the places of the picture.", gated: true },
  place: { label: "firing at the marked place", help: "How many times its own mean norm a group fires at the marked cell: before \u2192 after SGE." },
};

const number = (value) => {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
};
const short = (value) => value.toFixed(Math.abs(value) >= 9.95 ? 0 : Math.abs(value) >= 0.995 ? 1 : 2);
const ordinal = (n) => {
  const tens = n % 100;
  return n + (tens > 10 && tens < 14 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th"));
};

class Explorer {
  constructor(root, tables, trigger) {
    this.root = root.querySelector(".sge");
    this.trigger = trigger;
    this.tables = Object.fromEntries(Object.entries(tables).map(([name, text]) => [name, colourTable(text)]));
    this.state = { colourMap: "viridis", scale: "shared", smooth: false, gates: false, opacity: 60, swipe: 50, sort: "index", group: null, place: null };
    this.find = (selector) => this.root.querySelector(selector);
    this.text = (name, content) => { this.find(`[data-text="${name}"]`).textContent = content; };
    this.listen();
  }

  /** Take what the server found: a new picture, or another layer of the same one. */
  load(value) {
    this.root.toggleAttribute("data-empty", !value);
    if (!value) return;
    const samePicture = this.value && this.value.picture.id === value.picture.id;
    const sameShape = this.maps && this.maps.width === value.maps.width && this.maps.height === value.maps.height;
    this.value = value;
    this.maps = new Maps(value.maps);
    this.root.toggleAttribute("data-plain", !value.maps.gate);
    if (!(samePicture && sameShape)) this.state.place = null;
    this.hover(null);
    if (!(this.state.group < this.maps.groups) || this.state.group === null) this.state.group = this.firstGroup();
    this.text("layer", value.layer.title);
    this.showPicture();
    this.showPredictions();
    this.fillSorts();
    this.buildGrid();
    this.draw();
    this.loaded = performance.now();
    this.trigger("select");
  }

  /** The group to begin with: the one whose gate tells the places of the picture apart most. */
  firstGroup() {
    return this.maps.gate ? this.maps.contrast.indexOf(Math.max(...this.maps.contrast)) : 0;
  }

  /** Change one setting and redraw what depends on it. */
  set(name, value) {
    if (this.state[name] === value) return;
    this.state[name] = value;
    if (!this.maps) return;
    const started = performance.now();
    if (name === "opacity" || name === "swipe") this.placeOverlay();
    else if (name === "group") { this.markSelected(); this.drawDetail(); this.trigger("select"); }
    else if (name === "sort") this.sortGrid();
    else if (name === "place") this.showPlace();
    else this.draw();
    this.lastDraw = performance.now() - started;
  }

  listen() {
    for (const input of this.root.querySelectorAll("[data-set]")) {
      const read = () => (input.type === "checkbox" ? input.checked : input.type === "range" ? Number(input.value) : input.value);
      input.addEventListener("input", () => this.set(input.dataset.set, read()));
    }
    this.find('[data-do="forget"]').addEventListener("click", () => this.set("place", null));
    this.listenToGrid(this.find(".sge-grid"));
    this.listenToStage(this.find(".sge-stage"));
  }

  listenToGrid(grid) {
    grid.addEventListener("click", (event) => {
      const tile = event.target.closest(".sge-tile");
      if (!tile) return;
      this.set("group", Number(tile.dataset.group));
      const detail = this.find(".sge-side h3");
      const { top, bottom } = detail.getBoundingClientRect();
      if (bottom < 0 || top > window.innerHeight) detail.scrollIntoView({ block: "start" });
    });
    grid.addEventListener("pointermove", (event) => {
      const canvas = event.target.closest("canvas");
      if (canvas) this.hover(this.cellAt(canvas, event), Number(canvas.closest(".sge-tile").dataset.group));
      else this.hover(null);
    });
    grid.addEventListener("pointerleave", () => this.hover(null));
    grid.addEventListener("keydown", (event) => {
      const tiles = [...grid.children];
      const at = tiles.indexOf(document.activeElement);
      const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -at, End: tiles.length - 1 - at }[event.key];
      if (at < 0 || step === undefined) return;
      event.preventDefault();
      const next = tiles[Math.min(tiles.length - 1, Math.max(0, at + step))];
      for (const tile of tiles) tile.tabIndex = tile === next ? 0 : -1;
      next.focus();
    });
  }

  listenToStage(stage) {
    const box = this.find(".sge-box");
    const divider = this.find(".sge-divider");
    const drag = (event) => {
      const frame = box.getBoundingClientRect();
      const swipe = Math.round(Math.min(100, Math.max(0, ((event.clientX - frame.left) / frame.width) * 100)));
      this.find('[data-set="swipe"]').value = swipe;
      this.set("swipe", swipe);
    };
    divider.addEventListener("pointerdown", (event) => { divider.setPointerCapture(event.pointerId); event.preventDefault(); });
    divider.addEventListener("pointermove", (event) => { if (divider.hasPointerCapture(event.pointerId)) drag(event); });
    box.addEventListener("pointermove", (event) => this.hover(this.cellAt(box, event), this.state.group));
    box.addEventListener("pointerleave", () => this.hover(null));
    box.addEventListener("click", (event) => { if (!divider.contains(event.target)) this.set("place", this.cellAt(box, event)); });
    stage.addEventListener("keydown", (event) => {
      if (!this.maps) return;
      const { width, height, cells } = this.maps;
      const from = this.hovered ?? this.state.place ?? Math.floor(height / 2) * width + Math.floor(width / 2);
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: width, ArrowUp: -width }[event.key];
      if (step !== undefined) this.hover(Math.min(cells - 1, Math.max(0, from + step)), this.state.group);
      else if (event.key === "Enter" || event.key === " ") this.set("place", from);
      else return;
      event.preventDefault();
    });
  }

  cellAt(element, event) {
    if (!this.maps) return null;
    const frame = element.getBoundingClientRect();
    const clamp = (part, count) => Math.min(count - 1, Math.max(0, Math.floor(part * count)));
    const column = clamp((event.clientX - frame.left) / frame.width, this.maps.width);
    return clamp((event.clientY - frame.top) / frame.height, this.maps.height) * this.maps.width + column;
  }

  // ---- what the whole page shows --------------------------------------------------------

  showPicture() {
    layStage(this.root, this.value.picture, this.maps);
  }

  showPredictions() {
    this.find(".sge-top5").replaceChildren(...this.value.predictions.map(({ label, probability }) => {
      const item = document.createElement("li");
      item.style.setProperty("--part", probability);
      item.append(Object.assign(document.createElement("span"), { textContent: label }), Object.assign(document.createElement("b"), { textContent: `${(probability * 100).toFixed(1)}%` }));
      return item;
    }));
  }

  fillSorts() {
    const select = this.find('[data-set="sort"]');
    const offered = Object.entries(SORTS).filter(([name, sort]) => (!sort.gated || this.maps.gate) && (name !== "place" || this.state.place !== null));
    select.replaceChildren(...offered.map(([name, sort]) => new Option(sort.label, name)));
    if (!offered.some(([name]) => name === this.state.sort)) this.state.sort = "index";
    select.value = this.state.sort;
  }

  buildGrid() {
    const grid = this.find(".sge-grid");
    if (grid.children.length === this.maps.groups && grid.dataset.kinds === this.maps.kinds.join()) return;
    grid.dataset.kinds = this.maps.kinds.join();
    this.tiles = Array.from({ length: this.maps.groups }, (_, group) => {
      const tile = Object.assign(document.createElement("button"), { type: "button", className: "sge-tile", tabIndex: group ? -1 : 0 });
      tile.dataset.group = group;
      const cells = (inner) => this.maps.kinds.map((kind) => inner.replace("KIND", kind)).join("");
      tile.innerHTML = `<span class="sge-maps">${cells('<span class="sge-map" data-kind="KIND"><canvas></canvas></span>')}</span>`
        + `<span class="sge-ranges">${cells('<small data-kind="KIND"></small>')}</span><span class="sge-caption"><b>${group}</b><span></span></span>`;
      return tile;
    });
    grid.replaceChildren(...this.tiles);
  }

  draw() {
    this.root.toggleAttribute("data-smooth", this.state.smooth);
    this.root.toggleAttribute("data-gates", this.state.gates);
    this.root.toggleAttribute("data-own", this.state.scale === "own");
    this.table = this.tables[this.state.colourMap];
    this.root.style.setProperty("--ramp", ramp(this.table));
    this.tiles.forEach((tile, group) => this.drawTile(tile, group));
    this.drawLegend();
    this.markSelected();
    this.drawDetail();
    this.showPlace();
  }

  paintMap(canvas, kind, group) {
    const limits = this.maps.limits(kind, group, this.state.scale);
    paint(canvas, this.maps.of(kind, group), this.maps.width, this.maps.height, limits, this.table);
    return limits;
  }

  drawTile(tile, group) {
    for (const kind of this.maps.kinds) {
      const limits = this.paintMap(tile.querySelector(`[data-kind="${kind}"] canvas`), kind, group);
      tile.querySelector(`small[data-kind="${kind}"]`).textContent = limits.map(short).join("\u2013");
    }
    tile.setAttribute("aria-label", this.describe(group));
  }

  describe(group) {
    const { maps } = this;
    const spans = maps.kinds.map((kind) => `${KIND_NAMES[kind]} ${maps.ranges[kind][group].map(number).join(" to ")}`);
    const peak = maps.peak(maps.gate ? "after" : "before", group);
    const gained = maps.gate ? `, concentration ${signed(this.gained(group), 1)} points, gate contrast ${number(maps.contrast[group])}` : "";
    return `Group ${group}, the ${ordinal(group + 1)} in the paper's count: norm ${spans.join(", ")}${gained}; strongest at ${this.cellName(peak)}`;
  }

  gained(group) {
    return 100 * (this.maps.concentration.after[group] - this.maps.concentration.before[group]);
  }

  cellName(cell) {
    return `row ${Math.floor(cell / this.maps.width)}, column ${cell % this.maps.width}`;
  }

  drawLegend() {
    const whole = this.state.scale === "layer";
    const [low, high] = this.maps.layerRange.norms;
    this.text("low", whole ? number(low) : "each map\u2019s low");
    this.text("high", whole ? `${number(high)} (norm, all groups)` : "high: numbers under the maps");
  }

  // ---- sorting and places ---------------------------------------------------------------

  sortGrid() {
    const { maps, state } = this;
    const order = Array.from({ length: maps.groups }, (_, g) => g);
    const descending = (score) => order.sort((a, b) => score(b) - score(a) || a - b);
    let caption = (g) => (maps.gate ? `${signed(this.gained(g), 1)} pt` : "");
    if (state.sort === "gained") descending((g) => this.gained(g));
    if (state.sort === "contrast") {
      descending((g) => maps.contrast[g]);
      caption = (g) => number(maps.contrast[g]);
    }
    if (state.sort === "place") {
      const last = maps.gate ? "after" : "before";
      descending((g) => maps.firing(last, g, state.place));
      caption = (g) => maps.kinds.filter((kind) => kind !== "gate").map((kind) => maps.firing(kind, g, state.place).toFixed(1)).join("\u2192") + "\u00d7";
    }
    this.find('[data-set="sort"]').value = state.sort;
    this.text("sort", SORTS[state.sort].help + (state.sort === "index" && maps.gate ? " The score is the concentration gained through SGE, in percentage points." : ""));
    const grid = this.find(".sge-grid");
    for (const group of order) {
      const tile = this.tiles[group];
      tile.querySelector(".sge-caption span").textContent = caption(group);
      grid.append(tile);
    }
  }

  showPlace() {
    const { maps, state } = this;
    const marked = state.place !== null;
    this.find(".sge-place").hidden = !marked;
    this.moveMark("place", state.place);
    if (!marked && state.sort === "place") state.sort = "index";
    else if (marked && this.lastPlace !== state.place) state.sort = "place";
    this.lastPlace = state.place;
    this.fillSorts();
    this.sortGrid();
    if (!marked) return;
    const first = (kind) => maps.rankAt(kind, state.place).slice(0, 6).join(", ");
    const after = maps.gate ? `; after: ${first("after")}` : "";
    this.text("place", `At ${this.cellName(state.place)} these groups fire first. Before SGE: ${first("before")}${after}.`);
  }

  hover(cell, group) {
    this.hovered = cell;
    this.moveMark("hover", cell);
    if (cell === null) return this.text("readout", "Hover over a map to read its values; the same place is marked everywhere.");
    const values = this.maps.kinds.map((kind) => `${KIND_NAMES[kind]} ${number(this.maps.of(kind, group)[cell])}`);
    this.text("readout", `Group ${group}, ${this.cellName(cell)}: ${values.join(" \u00b7 ")}`);
  }

  moveMark(name, cell) {
    this.root.toggleAttribute(`data-${name}`, cell !== null);
    if (cell === null) return;
    this.root.style.setProperty(`--${name}-column`, cell % this.maps.width);
    this.root.style.setProperty(`--${name}-row`, Math.floor(cell / this.maps.width));
  }

  // ---- one group in detail --------------------------------------------------------------

  markSelected() {
    this.tiles.forEach((tile, group) => {
      tile.setAttribute("aria-pressed", group === this.state.group);
      tile.tabIndex = group === this.state.group ? 0 : -1;
    });
  }

  drawDetail() {
    const { maps, state } = this;
    const { group } = state;
    this.text("title", `Group ${group} (${ordinal(group + 1)} in the paper\u2019s count)`);
    for (const kind of maps.kinds) {
      const figure = this.find(`[data-trio="${kind}"]`);
      const limits = this.paintMap(figure.querySelector("canvas"), kind, group);
      figure.querySelectorAll(".sge-scale span").forEach((span, i) => { span.textContent = number(limits[i]); });
      if (kind !== "gate") this.paintMap(this.find(`.sge-box [data-map="${kind}"]`), kind, group);
    }
    this.find(".sge-stage").setAttribute("aria-label", `The picture under the map of ${this.describe(group)}`);
    this.placeOverlay();
    this.drawHistogram();
    this.listNumbers();
  }

  placeOverlay() {
    const { opacity, swipe } = this.state;
    const at = this.maps.gate ? swipe : 100;
    this.text("opacity", `${opacity}%`);
    this.root.style.setProperty("--opacity", opacity / 100);
    this.root.style.setProperty("--swipe", `${at}%`);
  }

  drawHistogram() {
    const { maps, state } = this;
    const kinds = maps.kinds.filter((kind) => kind !== "gate");
    const [low, high] = maps.limits("before", state.group, "shared");
    const bins = Math.min(30, Math.max(6, Math.round(Math.sqrt(maps.cells) * 2)));
    const counts = kinds.map((kind) => histogram(maps.of(kind, state.group), low, high, bins));
    const most = Math.max(...counts.flat());
    const bars = counts.map((row, i) => row.map((count, bin) => {
      const height = (count / most) * 90;
      return `<rect class="sge-bar-${kinds[i]}" x="${10 + (bin * 340) / bins}" y="${98 - height}" width="${340 / bins - 0.5}" height="${height}"></rect>`;
    }).join(""));
    const keys = kinds.map((kind, i) => `<text class="sge-key-${kind}" x="350" y="${14 + 14 * i}" text-anchor="end">${KIND_NAMES[kind]}, mean ${number(maps.means[kind][state.group])}</text>`);
    const svg = this.find(".sge-histogram svg");
    svg.innerHTML = `${bars.join("")}<path d="M10 98.5H350"></path><text x="10" y="114">${number(low)}</text><text x="180" y="114" text-anchor="middle">norm</text><text x="350" y="114" text-anchor="end">${number(high)}</text>${keys.join("")}`;
    svg.setAttribute("aria-label", `Histogram of norms from ${number(low)} to ${number(high)}; ${kinds.map((kind) => `mean ${KIND_NAMES[kind]} ${number(maps.means[kind][state.group])}`).join(", ")}`);
  }

  listNumbers() {
    const { maps, state: { group } } = this;
    const share = (kind) => `${(100 * maps.concentration[kind][group]).toFixed(1)}%`;
    const rows = [["Norm before, min \u2026 max", maps.ranges.before[group].map(number).join(" \u2026 ")]];
    if (maps.gate) {
      rows.push(
        ["Norm after, min \u2026 max", maps.ranges.after[group].map(number).join(" \u2026 ")],
        ["Gate, min \u2026 max (contrast)", `${maps.ranges.gate[group].map(number).join(" \u2026 ")} (${number(maps.contrast[group])})`],
        ["Concentration before \u2192 after", `${share("before")} \u2192 ${share("after")} (${signed(this.gained(group), 2)} points)`],
        ["\u03b3 (gamma), \u03b2 (beta)", `${maps.gamma[group].toFixed(3)}, ${maps.beta[group].toFixed(3)}`],
      );
    } else rows.push(["Concentration", share("before")]);
    this.find(".sge-numbers").innerHTML = rows.map(([term, value]) => `<dt>${term}</dt><dd>${value}</dd>`).join("");
  }
}

const explorer = new Explorer(element, props.tables, trigger);
window.sgeViz = explorer;
explorer.load(props.value);
watch("value", () => explorer.load(props.value));
