"use strict";
const start = JSON.parse(document.getElementById("data").textContent);
const { in_channels: C, out_channels: F, groups, layout, transposed, limits } = start;
const kernel = start.kernel.map(Number);
const d = start.axes.length;
const range = (n) => Array.from({ length: n }, (_, i) => i);

// The rule: which input an output reads through a tap, along one axis, as in convmtx.geometry.

const NOTHING = -1;
const modulo = (q, n) => ((q % n) + n) % n;
const fold = (q, period, last) => Math.min(modulo(q, period), last - modulo(q, period));
const BOUNDARIES = {
  zero: (q, n) => (q >= 0 && q < n ? q : NOTHING),
  wrap: modulo,
  reflect: (q, n) => (n === 1 ? 0 : fold(q, 2 * (n - 1), 2 * (n - 1))),
  symmetric: (q, n) => fold(q, 2 * n, 2 * n - 1),
  edge: (q, n) => Math.min(Math.max(q, 0), n - 1),
};

/** Error of settings that make no map, or a map that is too large to draw. */
class SettingsError extends Error {}

/** Return the two pads that a name stands for; for a transposed map the two cuts. */
function padsOf(name, { size, span, stretched, stride, stretch }) {
  if (name === "valid") return [0, 0];
  if (name === "full") return [span - 1, span - 1];
  const outputs = transposed ? size * stretch : Math.ceil(stretched / stride);
  const room = transposed ? stretched + span - 1 - outputs : (outputs - 1) * stride + span - stretched;
  const total = Math.max(room, 0);
  const lo = name === "same" ? Math.floor(total / 2) : Math.ceil(total / 2);
  return [lo, (transposed ? room : total) - lo]; // a negative cut adds the outputs that a transposed map lacks
}

/**
 * Return an axis from the arguments of a call. A transposed map has its stride where others have their input dilation,
 * and cuts outputs off instead of padding.
 */
function axisOf(settings) {
  const { size, kernel: taps, dilation, boundary, padding } = settings;
  const [stride, stretch] = transposed
    ? [settings.input_dilation, settings.stride] : [settings.stride, settings.input_dilation];
  const span = dilation * (taps - 1) + 1;
  const stretched = (size - 1) * stretch + 1;
  const axis = { size, taps, stride, stretch, dilation, span, stretched };
  axis.pads = padding === "numbers" ? [settings.lo, settings.hi] : padsOf(padding, axis);
  [axis.lo, axis.hi] = transposed ? axis.pads.map((cut) => span - 1 - cut) : axis.pads;
  axis.out = Math.floor((stretched + axis.lo + axis.hi - span) / stride) + 1;
  axis.read = (o, p) => {
    const q = BOUNDARIES[boundary](o * stride - axis.lo + p * dilation, stretched);
    return q === NOTHING || q % stretch ? NOTHING : q / stretch;
  };
  return axis;
}

/** Axis across a one-dimensional array, which is drawn as an image of one row. */
const ROW = axisOf({
  size: 1, kernel: 1, stride: 1, dilation: 1, input_dilation: 1, padding: "valid", boundary: "zero",
});

// Cells of the arrays in their flat order. The channel axes stand where the layout has them.

const withChannels = (indices, ...channels) =>
  layout === "none" ? indices : layout === "last" ? [...indices, ...channels] : [...channels.reverse(), ...indices];

/** Return the cells of the input or the output, with their names, such as x[1, 2]. */
function cellsOf(letter, [h, w], channels) {
  const cells = [];
  for (const c of range(channels)) for (const i of range(h)) for (const j of range(w)) {
    const id = layout === "first" ? (c * h + i) * w + j : (i * w + j) * channels + c;
    cells[id] = { id, c, i, j, name: `${letter}[${withChannels([i, j].slice(2 - d), c).join(", ")}]` };
  }
  return cells;
}

// The kernel has filters along one channel axis and the channels of a group along the other; transposed, they swap.
const rows = transposed ? C : F;
const perGroup = (transposed ? F : C) / groups;
const spatial = start.axes.map((axis) => axis.kernel);
/** Return the cells of the kernel, with their names, such as K[0, 1]. */
function kernelCells() {
  const [k1, k2] = d === 1 ? [1, ...spatial] : spatial;
  const cells = [];
  for (const r of range(rows)) for (const g of range(perGroup)) for (const i of range(k1)) for (const j of range(k2)) {
    const id = layout === "first" ? ((r * perGroup + g) * k1 + i) * k2 + j : ((i * k2 + j) * perGroup + g) * rows + r;
    cells[id] = { id, r, g, i, j, value: kernel[id], name: `K[${withChannels([i, j].slice(2 - d), g, r).join(", ")}]` };
  }
  return cells;
}

const taps = kernelCells();
const tapAt = new Map(taps.map(({ id, r, g, i, j }) => [`${[r, g, i, j]}`, id]));
const sum = (ids) => ids.reduce((total, id) => total + kernel[id], 0);

/** Return the value of a cell of the example input: a bright spot, one column further right in each channel. */
function example({ c, i, j }, [h, w]) {
  const [down, along] = [(i - (h - 1) / 2) / Math.max(h / 3, 1), (j - (w - 1) / 2 - c) / Math.max(w / 3, 1)];
  return Math.round(9 * Math.exp(-down * down - along * along));
}

const REMEDY = "Make the input or its padding smaller.";

/** Return the axes of settings, or throw if they make no map or one that is too large. */
function checkedAxes(settings) {
  if (settings.some(({ padding, lo, hi }) => padding === "numbers" && ![lo, hi].every(Number.isInteger)))
    throw new SettingsError("Padding wants two whole numbers, before and after.");
  const axes = settings.map(axisOf);
  for (const [n, x] of axes.entries()) {
    const axis = d === 1 ? "the axis" : `axis ${n}`;
    if (x.out > 0) continue;
    if (transposed) throw new SettingsError(`There would be ${x.out} outputs along ${axis}: cut less with padding.`);
    throw new SettingsError(`The kernel does not fit along ${axis}: it spans ${x.span} positions, and the padded ` +
      `input has ${x.stretched + x.lo + x.hi}. Pad more, or make the dilation smaller or the input larger.`);
  }
  const count = (name, channels) => axes.reduce((n, axis) => n * axis[name], channels);
  const sides = [count("out", F), count("size", C)];
  if (Math.max(...sides) > limits.side) throw new SettingsError(`The matrix would have ${sides[0]} rows and ` +
    `${sides[1]} columns, and up to ${limits.side} of each are drawn. ${REMEDY}`);
  return axes;
}

/** Return all that is drawn: the cells of input x and output y, and for each row of the matrix its taps by column. */
function compute(settings, flip) {
  const axes = checkedAxes(settings);
  const [a, b] = d === 1 ? [ROW, ...axes] : axes;
  const tables = [a, b].map((x) => range(x.out).map((o) => range(x.taps).map((p) => x.read(o, p))));
  const [readsDown, readsAcross] = tables.map((table) => table.flat().filter((i) => i !== NOTHING).length);
  if (readsDown * readsAcross * F * (C / groups) > limits.products)
    throw new SettingsError(`The matrix would join more than ${limits.products} pairs, too many. ${REMEDY}`);
  const [x, y] = [cellsOf("x", [a.size, b.size], C), cellsOf("y", [a.out, b.out], F)];
  for (const cell of x) cell.value = example(cell, [a.size, b.size]);
  const column = new Map(x.map(({ id, c, i, j }) => [`${[c, i, j]}`, id]));
  const isReversed = flip !== transposed;
  const matrix = y.map((o) => {
    const row = new Map();
    const group = Math.floor(o.c / (F / groups));
    for (const g of range(C / groups)) for (const p of range(a.taps)) for (const q of range(b.taps)) {
      const [i, j] = [tables[0][o.i][p], tables[1][o.j][q]];
      if (i === NOTHING || j === NOTHING) continue;
      const channel = group * (C / groups) + g;
      const pair = transposed ? [channel, o.c % perGroup] : [o.c, g];
      const tap = tapAt.get(`${[...pair, ...(isReversed ? [a.taps - 1 - p, b.taps - 1 - q] : [p, q])]}`);
      const to = column.get(`${[channel, i, j]}`);
      if (row.has(to)) row.get(to).push(tap);
      else row.set(to, [tap]);
    }
    return new Map([...row].sort(([m], [n]) => m - n));
  });
  for (const o of y) o.value = [...matrix[o.id]].reduce((total, [c, ids]) => total + sum(ids) * x[c].value, 0);
  const shapes = [["size", C], ["out", F]].map(([name, n]) => withChannels(axes.map((axis) => axis[name]), n));
  return { axes, a, b, x, y, matrix, shapes, settings, flip };
}
