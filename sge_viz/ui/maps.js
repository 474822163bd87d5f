// Maps as the browser holds them: raw numbers in; ranges, ranks, colours and painted canvases out.

/** Undo the server's packing: little-endian 16-bit counts of top / 65535, as base64. */
function unpack(text, top) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const counts = new Uint16Array(bytes.buffer);
  const unit = top / 65535;
  return Float32Array.from(counts, (count) => count * unit);
}

const signed = (value, digits) => {
  const size = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(size) !== 0 ? "\u2212" : "+") + size;
};

/** A colour table of 256 RGB triples in base64, as little-endian ABGR words for ImageData. */
function colourTable(text) {
  const rgb = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return Uint32Array.from(
    { length: 256 },
    (_, i) => (255 << 24) | (rgb[3 * i + 2] << 16) | (rgb[3 * i + 1] << 8) | rgb[3 * i],
  );
}

/** The same table as a CSS gradient. */
function ramp(table) {
  const stops = Array.from({ length: 9 }, (_, i) => table[Math.round(i * 31.875)]);
  const colours = stops.map((word) => `rgb(${word & 255} ${(word >> 8) & 255} ${(word >> 16) & 255})`);
  return `linear-gradient(to right, ${colours.join()})`;
}

function rangeOf(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

const meanOf = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** One layer's maps of one picture: `before`, and for an SGE network `gate` and `after`. */
class Maps {
  constructor(data) {
    Object.assign(this, data); // groups, height, width, gamma, beta, measures
    this.cells = data.height * data.width;
    this.arrays = { before: unpack(data.before.counts, data.before.top) };
    if (data.gate) {
      const gate = unpack(data.gate.counts, data.gate.top);
      // Exact by definition: SGE multiplies a position's vector by its gate, so its norm too.
      this.arrays.gate = gate;
      this.arrays.after = this.arrays.before.map((norm, i) => norm * gate[i]);
    }
    this.kinds = data.gate ? ["before", "gate", "after"] : ["before"];
    this.ranges = {};
    for (const kind of this.kinds) {
      this.ranges[kind] = Array.from({ length: this.groups }, (_, g) => rangeOf(this.of(kind, g)));
    }
    this.means = {};
    for (const kind of this.kinds) {
      this.means[kind] = Array.from({ length: this.groups }, (_, g) => meanOf(this.of(kind, g)));
    }
    this.layerRange = {
      norms: rangeOf([...this.ranges.before, ...(this.ranges.after ?? [])].flat()),
      gate: this.ranges.gate ? rangeOf(this.ranges.gate.flat()) : null,
    };
  }

  /** Map `kind` of `group`, a view of its cells, row by row. */
  of(kind, group) {
    return this.arrays[kind].subarray(group * this.cells, (group + 1) * this.cells);
  }

  /** Which numbers the first and the last colour stand for; the rule of render/colour.py. */
  limits(kind, group, scale) {
    if (scale === "own") return this.ranges[kind][group];
    if (kind === "gate") return this.layerRange.gate;
    if (scale === "layer") return this.layerRange.norms;
    const after = this.ranges.after ? this.ranges.after[group] : [];
    return rangeOf([...this.ranges.before[group], ...after]);
  }

  /** How many times its own mean `group` fires at `cell`; 1 for a map that is nowhere active. */
  firing(kind, group, cell) {
    const mean = this.means[kind][group];
    return mean > 0 ? this.of(kind, group)[cell] / mean : 1;
  }

  /** All groups, those that fire most at `cell` first. */
  rankAt(kind, cell) {
    const firing = Array.from({ length: this.groups }, (_, g) => this.firing(kind, g, cell));
    return firing.map((_, g) => g).sort((a, b) => firing[b] - firing[a] || a - b);
  }

  /** The cell where `group` is strongest. */
  peak(kind, group) {
    const values = this.of(kind, group);
    return values.indexOf(this.ranges[kind][group][1]);
  }
}

/** Paint `values` into `canvas`, one pixel a cell. */
function paint(canvas, values, width, height, [low, high], table) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const words = new Uint32Array(image.data.buffer);
  const factor = high > low ? 256 / (high - low) : 0;
  for (let i = 0; i < values.length; i++) {
    const index = Math.floor((values[i] - low) * factor);
    words[i] = table[index > 255 ? 255 : index < 0 ? 0 : index];
  }
  context.putImageData(image, 0, 0);
}

/** Counts of `values` in `bins` equal bins over [low, high]. */
function histogram(values, low, high, bins) {
  const counts = new Array(bins).fill(0);
  const factor = high > low ? bins / (high - low) : 0;
  for (const value of values) {
    counts[Math.min(bins - 1, Math.max(0, Math.floor((value - low) * factor)))]++;
  }
  return counts;
}

/** Show `picture` in a stage, with its box where the network looked, and say how maps are cut. */
function layStage(root, picture, { width, height }) {
  const [left, top, right, bottom] = picture.box;
  const stage = root.querySelector(".sge-stage");
  stage.style.aspectRatio = `${picture.width} / ${picture.height}`;
  stage.style.setProperty("--aspect", picture.width / picture.height);
  Object.assign(stage.querySelector("img"), { src: picture.url, alt: `The picture ${picture.name}` });
  const percent = (part) => `${part * 100}%`;
  Object.assign(stage.querySelector(".sge-box").style, {
    left: percent(left), top: percent(top), width: percent(right - left), height: percent(bottom - top),
  });
  const shape = (picture.width * (right - left)) / (picture.height * (bottom - top));
  const aspect = Math.min(4, Math.max(0.4, shape)); // maps of a strip would be too long, or too thin
  for (const [name, value] of [["columns", width], ["rows", height], ["box-aspect", aspect]]) {
    root.style.setProperty(`--${name}`, value);
  }
}
