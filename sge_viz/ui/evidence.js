// The ledger of one class: a signed bar a group, which add up to the logit, and their maps.

class Evidence {
  constructor(root, tables, trigger) {
    this.root = root.querySelector(".sge");
    this.trigger = trigger;
    this.table = colourTable(tables.signed);
    this.chosen = null; // a group, or null for all together
    this.find = (selector) => this.root.querySelector(selector);
    this.text = (name, content) => { this.find(`[data-text="${name}"]`).textContent = content; };
    this.root.style.setProperty("--opacity", 0.7);
    this.root.style.setProperty("--ramp", ramp(this.table));
    this.find("input").addEventListener("input", (event) => this.root.style.setProperty("--opacity", event.target.value / 100));
    this.find('[data-do="all"]').addEventListener("click", () => this.choose(null));
    const bars = this.find(".sge-bars");
    bars.addEventListener("click", (event) => {
      const bar = event.target.closest("button");
      if (bar) this.choose(Number(bar.dataset.group));
    });
    bars.addEventListener("keydown", (event) => {
      const step = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
      if (step) document.activeElement[step]?.focus();
    });
  }

  load(value) {
    this.root.toggleAttribute("data-empty", !value);
    if (!value) return;
    this.value = value;
    const { groups, height, width, counts, top } = value.maps;
    const zero = 32767.5;
    const raw = unpack(counts, 65535);
    this.cells = height * width;
    this.maps = raw.map((count) => ((count - zero) / zero) * top);
    if (this.chosen !== null && this.chosen >= groups) this.chosen = null;
    layStage(this.root, value.picture, value.maps);
    this.text("title", `Evidence for \u201c${value.label}\u201d in ${value.layer}`);
    const add = (sum, { sge, shortcut }) => sum + sge + shortcut;
    const positive = value.ledger.filter((entry) => entry.sge + entry.shortcut > 0).reduce(add, 0);
    const negative = value.ledger.filter((entry) => entry.sge + entry.shortcut <= 0).reduce(add, 0);
    this.text("sum", `bias ${signed(value.bias, 3)}, groups for it ${signed(positive, 3)}, groups against it ${signed(negative, 3)}: logit ${signed(value.bias + positive + negative, 3)} (the network says ${signed(value.logit, 3)}; probability ${(100 * value.probability).toFixed(1)}%)`);
    this.drawBars();
    this.choose(this.chosen);
  }

  drawBars() {
    const totals = this.value.ledger.map(({ sge, shortcut }) => sge + shortcut);
    const reaches = this.value.ledger.flatMap(({ sge, shortcut }) => [
      Math.max(sge, 0) + Math.max(shortcut, 0), Math.min(sge, 0) + Math.min(shortcut, 0)]);
    const high = Math.max(...reaches, 1e-9);
    const percent = 100 / (high - Math.min(...reaches, 0)); // of the chart's height, a logit
    const zero = high * percent; // from the top
    this.root.style.setProperty("--zero", `${zero}%`);
    const order = totals.map((_, group) => group).sort((a, b) => totals[b] - totals[a] || a - b);
    this.find(".sge-bars").replaceChildren(...order.map((group) => {
      const bar = Object.assign(document.createElement("button"), { type: "button" });
      bar.dataset.group = group;
      const chart = document.createElement("span");
      const parts = this.value.ledger[group];
      bar.setAttribute("aria-label", `Group ${group}: ${signed(totals[group], 3)} logits, ${signed(parts.sge, 3)} through SGE, ${signed(parts.shortcut, 3)} through the shortcut`);
      bar.title = bar.getAttribute("aria-label");
      // Parts of one sign stand on each other, parts of two signs on the two sides of zero.
      const reach = { up: 0, down: 0 };
      for (const part of ["sge", "shortcut"]) {
        const side = parts[part] >= 0 ? "up" : "down";
        const height = Math.abs(parts[part]) * percent;
        const rect = document.createElement("i");
        rect.dataset.part = part;
        Object.assign(rect.style, { height: `${height}%`, [side === "up" ? "bottom" : "top"]: `${(side === "up" ? 100 - zero : zero) + reach[side]}%` });
        reach[side] += height;
        chart.append(rect);
      }
      const total = document.createElement("b");
      total.style.top = `${zero - totals[group] * percent}%`;
      chart.append(total);
      bar.append(chart, Object.assign(document.createElement("small"), { textContent: group }));
      return bar;
    }));
  }

  choose(group) {
    this.chosen = group;
    const { value } = this;
    for (const bar of this.root.querySelectorAll(".sge-bars button")) bar.setAttribute("aria-pressed", Number(bar.dataset.group) === group);
    const values = group === null ? this.summed() : this.maps.subarray(group * this.cells, (group + 1) * this.cells);
    const top = Math.max(...values.map(Math.abs), 1e-12);
    paint(this.find(".sge-box canvas"), values, value.maps.width, value.maps.height, [-top, top], this.table);
    this.text("low", signed(-top, 3));
    this.text("high", signed(top, 3));
    const sum = (part) => (group === null ? value.ledger.reduce((all, entry) => all + entry[part], 0) : value.ledger[group][part]);
    const total = sum("sge") + sum("shortcut");
    const rows = [
      ["Shown", group === null ? "all groups together" : `group ${group} (number ${group + 1} in the paper\u2019s count)`],
      ["Contribution to the logit", `${signed(total, 3)} of ${signed(value.logit, 3)}`],
      ["Through SGE, through the shortcut", `${signed(sum("sge"), 3)}, ${signed(sum("shortcut"), 3)}`],
    ];
    this.find(".sge-numbers").innerHTML = rows.map(([term, text]) => `<dt>${term}</dt><dd>${text}</dd>`).join("");
    this.trigger("select");
  }

  summed() {
    const sums = new Float32Array(this.cells);
    this.maps.forEach((value, i) => { sums[i % this.cells] += value; });
    return sums;
  }
}

// The class menu is searched by typing, so that what stands in it must give way.
document.addEventListener("click", ({ target }) => {
  if (target.matches("#sge-class input")) target.select();
});

const evidence = new Evidence(element, props.tables, trigger);
window.sgeEvidence = evidence;
evidence.load(props.value);
watch("value", () => evidence.load(props.value));
