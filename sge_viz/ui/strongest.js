// An index of pictures: what every group looks for, and one group's strongest pictures.

class Strongest {
  constructor(root, tables, trigger) {
    this.root = root.querySelector(".sge");
    this.trigger = trigger;
    this.table = colourTable(tables.norms);
    this.group = 0;
    this.find = (selector) => this.root.querySelector(selector);
    this.text = (name, content) => { this.find(`[data-text="${name}"]`).textContent = content; };
    this.root.style.setProperty("--opacity", 0.55);
    this.find("input").addEventListener("input", (event) => this.root.style.setProperty("--opacity", event.target.value / 100));
    this.find(".sge-tiles").addEventListener("click", (event) => {
      const tile = event.target.closest("button");
      if (!tile) return;
      this.group = Number(tile.dataset.group);
      this.markChosen();
      this.trigger("select");
    });
  }

  load(value) {
    this.root.toggleAttribute("data-empty", !value);
    if (!value) return;
    this.value = value;
    this.group = value.group;
    if (value.tiles) this.showTiles();
    this.markChosen();
    this.showHits();
  }

  picture({ url, box, name }) {
    const holder = Object.assign(document.createElement("span"), { className: "sge-thumb" });
    if (url) holder.append(Object.assign(document.createElement("img"), { src: url, alt: name }));
    const [left, top, right, bottom] = box.map((part) => `${100 * part}%`);
    const peak = document.createElement("i");
    Object.assign(peak.style, { left, top, width: `calc(${right} - ${left})`, height: `calc(${bottom} - ${top})` });
    holder.append(peak);
    return holder;
  }

  showTiles() {
    this.text("tiles", this.value.title);
    this.find(".sge-tiles").replaceChildren(...this.value.tiles.map((tile, group) => {
      const button = Object.assign(document.createElement("button"), { type: "button" });
      button.dataset.group = group;
      button.setAttribute("aria-label", `Group ${group}: strongest in ${tile.name}, ${tile.place}`);
      button.append(this.picture(tile), Object.assign(document.createElement("small"), { textContent: group }));
      return button;
    }));
  }

  markChosen() {
    for (const tile of this.find(".sge-tiles").children) tile.setAttribute("aria-pressed", Number(tile.dataset.group) === this.group);
  }

  showHits() {
    const { hits, classes, group } = this.value;
    this.text("hits", `Group ${group}: its strongest pictures, ${this.value.ranking}`);
    this.text("classes", classes.length ? `Classes it prefers: ${classes.join(", ")}.` : "");
    this.find(".sge-hits").replaceChildren(...hits.map((hit, rank) => this.hit(hit, rank)));
  }

  hit(hit, rank) {
    const figure = document.createElement("figure");
    const row = Object.assign(document.createElement("div"), { className: "sge-trio" });
    row.append(this.picture(hit));
    for (const kind of ["before", "after"]) {
      if (!hit[kind]) continue;
      const holder = this.picture(hit);
      const canvas = document.createElement("canvas");
      paint(canvas, unpack(hit[kind].counts, hit[kind].top), hit.width, hit.height, hit.limits, this.table);
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `Norms ${kind} SGE over ${hit.name}`);
      holder.insertBefore(canvas, holder.lastChild);
      row.append(holder);
    }
    const numbers = hit.limits ? `; norms ${hit.limits.map((value) => value.toFixed(3)).join(" to ")} in both maps` : "";
    const caption = document.createElement("figcaption");
    caption.textContent = `${rank + 1}. ${hit.name}${hit.className ? ` (${hit.className})` : ""}: ${hit.score.toPrecision(4)}, ${hit.place}${numbers}`;
    figure.append(caption, row);
    return figure;
  }
}

const strongest = new Strongest(element, props.tables, trigger);
window.sgeStrongest = strongest;
strongest.load(props.value);
watch("value", () => strongest.load(props.value));
