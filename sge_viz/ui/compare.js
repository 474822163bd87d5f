// Two networks on one picture: a group of the first beside the same or the best-matching group of
// the second, on one scale.

class Comparison {
  constructor(root, tables) {
    this.root = root.querySelector(".sge");
    this.table = colourTable(tables.norms);
    this.state = { group: 0, match: true };
    this.find = (selector) => this.root.querySelector(selector);
    this.text = (name, content) => { this.find(`[data-text="${name}"]`).textContent = content; };
    this.root.style.setProperty("--ramp", ramp(this.table));
    for (const input of this.root.querySelectorAll("[data-set]")) {
      input.addEventListener("input", () => {
        this.state[input.dataset.set] = input.type === "checkbox" ? input.checked : Number(input.value);
        this.draw();
      });
    }
  }

  load(value) {
    this.root.toggleAttribute("data-empty", !value);
    if (!value) return;
    this.value = value;
    this.maps = { first: new Maps(value.first.maps), second: new Maps(value.second.maps) };
    this.find("input[type=range]").max = this.maps.first.groups - 1;
    this.state.group = Math.min(this.state.group, this.maps.first.groups - 1);
    layStage(this.root, value.picture, this.maps.first);
    this.draw();
  }

  draw() {
    if (!this.value) return;
    const { group, match } = this.state;
    const found = this.value.matches[group];
    const groups = { first: group, second: match ? found.group : Math.min(group, this.maps.second.groups - 1) };
    const norms = (side) => this.maps[side].kinds.filter((kind) => kind !== "gate").map((kind) => this.maps[side].ranges[kind][groups[side]]);
    const limits = rangeOf([...norms("first"), ...norms("second")].flat());
    for (const side of ["first", "second"]) this.drawSide(side, groups[side], limits);
    this.text("group", group);
    this.text("low", limits[0].toFixed(3));
    this.text("high", `${limits[1].toFixed(3)} (norm)`);
    this.text("match", `Group ${group} matches group ${found.group} of the second network best: correlation ${found.correlation.toFixed(2)} of their norm maps before SGE over ${this.value.matchedOver}.`);
  }

  drawSide(side, group, limits) {
    const maps = this.maps[side];
    const holder = this.find(`[data-side="${side}"]`);
    const heading = Object.assign(document.createElement("h3"), { textContent: `${this.value[side].title}, ${this.value[side].layer}: group ${group}` });
    const trio = Object.assign(document.createElement("div"), { className: "sge-trio" });
    const names = maps.kinds.length > 1 ? { before: "before SGE", gate: "gate", after: "after SGE" } : { before: "norm (no SGE here)" };
    for (const kind of maps.kinds) {
      const figure = document.createElement("figure");
      const canvas = document.createElement("canvas");
      const [low, high] = maps.ranges[kind][group];
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${names[kind]} of group ${group}, ${low.toFixed(3)} to ${high.toFixed(3)}`);
      figure.append(Object.assign(document.createElement("figcaption"), { textContent: `${names[kind]}, ${low.toFixed(3)} to ${high.toFixed(3)}` }), canvas);
      paint(canvas, maps.of(kind, group), maps.width, maps.height, kind === "gate" ? [0, 1] : limits, this.table);
      trio.append(figure);
    }
    holder.replaceChildren(heading, trio);
  }
}

const comparison = new Comparison(element, props.tables);
window.sgeComparison = comparison;
comparison.load(props.value);
watch("value", () => comparison.load(props.value));
