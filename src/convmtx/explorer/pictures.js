
// Pictures: grids of cells. A cell stands for {kind, id}; input and output stand in two pictures, so that two cells
// stand for the same.

const UNIT = 20; // side of a cell, in the units of the picture
const GAP = 10; // between blocks of channels, in the same units
const READABLE = 15; // side in pixels of the smallest cell whose value is written
const find = (id) => document.getElementById(id);
const number = (v, digits = 6) =>
  (Number.isFinite(v) ? `${Number(v.toPrecision(digits))}` : `${v}`.replace("Infinity", "inf"));
const keyOf = ({ kind, id }) => `${kind}:${id}`;
const pictures = {};
let elements = new Map(); // the cells that are drawn for a key
let model = null; // what `compute` returned last

function svg(name, attributes, parent, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent?.append(element);
  return element;
}

const label = (parent, text, x, y, side = "") => svg("text", { class: `label ${side}`, x, y }, parent, text);

/** Return stripes that fill a cell, one in the colour of each tap. */
function stripes(ids) {
  const few = ids.slice(0, 6);
  const width = UNIT / few.length;
  return few.map((id, n) => svg("rect", { class: `paint t${id}`, x: n * width, width, height: UNIT }));
}

/** Return positions of cells along one direction, with a gap between blocks. */
const spread = (count, block, start, gap = GAP) =>
  range(count).map((n) => start + n * UNIT + Math.floor(n / block) * gap);

/**
 * Draw cells {row, column, kind, id, value}, coloured by their taps or by a shade, over what `drawBehind` draws.
 * Columns begin at `xs`, rows at `ys`.
 */
function draw(name, title, cells, xs, ys, drawBehind) {
  const picture = pictures[name];
  const width = xs.at(-1) + UNIT + 1;
  const height = ys.at(-1) + UNIT + 1;
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  const isMatrix = name === "matrix";
  const scale = Math.min(1.6, ...(isMatrix ? [640 / height] : [300 / height, 460 / width]));
  Object.assign(picture, { xs, ys, root, width, cells: new Map() });
  drawBehind(root);
  for (const cell of cells) {
    const transform = `translate(${xs[cell.column]} ${ys[cell.row]})`;
    const box = svg("g", { class: "cell", "data-kind": cell.kind, "data-id": cell.id, transform }, root);
    if (cell.taps) box.append(...stripes(cell.taps));
    else svg("rect", { class: "base", width: UNIT, height: UNIT }, box).style.setProperty("--v", cell.shade);
    picture.cells.set(`${cell.row},${cell.column}`, cell);
    const key = keyOf(cell);
    elements.set(key, [...(elements.get(key) ?? []), box]);
    if (UNIT * scale < READABLE) continue;
    const text = number(cell.value, Number.isInteger(cell.value) ? 5 : Math.abs(cell.value) < 10 ? 2 : 3);
    svg("text", { x: UNIT / 2, y: UNIT / 2 }, box, text).style.fontSize = `${Math.min(9, 30 / text.length)}px`;
  }
  root.style.width = `${width * scale}px`;
  if (isMatrix) root.style.minWidth = `${width / 8}px`; // at least 2.5 pixels a cell; a larger matrix scrolls
  picture.box.querySelector("svg")?.remove();
  picture.box.append(root);
  picture.box.setAttribute("aria-label", title);
  picture.box.setAttribute("aria-rowcount", ys.length);
  picture.box.setAttribute("aria-colcount", xs.length);
  if (!targetAt(picture, ...picture.cursor)) picture.cursor = isMatrix ? [1, 1] : [0, 0];
  hideSmallText(picture);
}

/** Hide values and labels that are too small to be read. */
function hideSmallText({ root, width }) {
  const scale = root.getBoundingClientRect().width / width;
  root.classList.toggle("tiny", UNIT * scale < READABLE);
  root.classList.toggle("unlabelled", (root.style.getPropertyValue("--size") || 9) * scale < 6);
}

/** Return what a row and column of a picture stand for; in the matrix also where nothing is stored. */
function targetAt(picture, row, column) {
  const cell = picture.cells.get(`${row},${column}`);
  if (cell) return { kind: cell.kind, id: cell.id };
  if (picture !== pictures.matrix) return null;
  const inside = row > 0 && column > 0 && row < picture.ys.length && column < picture.xs.length;
  return inside ? { kind: "entry", id: (row - 1) * model.x.length + column - 1 } : null;
}

/** Return a function from a cell to its shade, from 0 for the smallest value to 1 for the largest. */
function shadesOf(cells) {
  const finite = cells.map(({ value }) => value).filter(Number.isFinite);
  const least = Math.min(...finite);
  const width = Math.max(...finite) - least || 1;
  return ({ value }) => (Number.isFinite(value) ? (value - least) / width : 0);
}

/** Draw the input or the output, a block for each channel. */
function drawImage(kind, letter, cells, [h, w], channels) {
  const across = d === 1 ? 1 : Math.min(channels, 3);
  const shade = shadesOf(cells);
  const lattice = cells.map((cell) => ({ ...cell, kind, shade: shade(cell),
    row: Math.floor(cell.c / across) * h + cell.i, column: (cell.c % across) * w + cell.j }));
  const labelled = layout !== "none";
  const xs = spread(across * w, w, labelled && d === 1 ? 20 : 1);
  const ys = spread(Math.ceil(channels / across) * h, h, labelled && d > 1 ? 15 : 1, d > 1 ? 20 : GAP);
  const title = `${kind}, ${d === 1 ? w : `${h} by ${w}`}${labelled ? `, ${channels} channels` : ""}`;
  draw(kind, title, lattice, xs, ys, (root) => {
    for (const c of range(labelled ? channels : 0)) {
      const [x, y] = [xs[(c % across) * w], ys[Math.floor(c / across) * h]];
      if (d === 1) label(root, letter + c, x - 4, y + UNIT / 2, "before");
      else label(root, letter + c, x + (w * UNIT) / 2, y - 7);
    }
  });
}

/** Draw the kernel, a block for each pair of channels. */
function drawKernel() {
  const [k1, k2] = d === 1 ? [1, ...spatial] : spatial;
  const lattice = taps.map((cell) => ({ ...cell, kind: "tap", taps: [cell.id],
    row: cell.r * k1 + cell.i, column: cell.g * k2 + cell.j }));
  const labelled = layout !== "none";
  const xs = spread(perGroup * k2, k2, labelled ? 20 : 1);
  const ys = spread(rows * k1, k1, labelled ? 15 : 1, groups > 1 ? 20 : GAP);
  const title = `kernel, ${spatial.join(" by ")}${labelled ? `, ${rows} by ${perGroup} channels` : ""}`;
  draw("kernel", title, lattice, xs, ys, (root) => {
    const [down, along] = transposed ? "cf" : "fc";
    for (const r of range(labelled ? rows : 0)) {
      label(root, down + r, 16, ys[r * k1] + (k1 * UNIT) / 2, "before");
      if (r > 0 && groups === 1) continue; // every row has the same channels
      for (const g of range(perGroup))
        label(root, along + (Math.floor(r / (rows / groups)) * perGroup + g),
          xs[g * k2] + (k2 * UNIT) / 2, ys[r * k1] - 7);
    }
  });
}

/** Draw the matrix, with the input above its columns and the output beside its rows. */
function drawMatrix({ x, y, matrix, shapes }) {
  const blocks = shapes.map((shape) => shape.slice(1).reduce((product, n) => product * n, 1));
  const size = Math.min(Math.max(9, x.length / 3, y.length / 3), 80); // of labels, for a large picture is scaled down
  const labelled = shapes[0].length > 1;
  const line = (count, start) => [start, ...range(count).map((n) => start + UNIT + 6 + n * UNIT)];
  const [xs, ys] = [line(x.length, labelled ? size * 2.8 : 1), line(y.length, labelled ? size * 1.6 : 1)];
  const [shadeX, shadeY] = [shadesOf(x), shadesOf(y)];
  const lattice = [
    ...x.map((cell) => ({ ...cell, kind: "input", shade: shadeX(cell), row: 0, column: cell.id + 1 })),
    ...y.map((cell) => ({ ...cell, kind: "output", shade: shadeY(cell), row: cell.id + 1, column: 0 })),
    ...matrix.flatMap((row, r) => [...row].map(([c, ids]) =>
      ({ kind: "entry", id: r * x.length + c, value: sum(ids), taps: ids, row: r + 1, column: c + 1 }))),
  ];
  const title = `matrix, ${y.length} by ${x.length}, below the input and beside the output`;
  draw("matrix", title, lattice, xs, ys, (root) => {
    root.style.setProperty("--size", size);
    svg("rect", { class: "sheet", x: xs[1], y: ys[1], width: x.length * UNIT, height: y.length * UNIT }, root);
    for (const n of range(labelled ? shapes[0][0] : 0)) {
      const [left, width] = [xs[1 + n * blocks[0]], blocks[0] * UNIT];
      if (width > size * 2) label(root, `x[${n}]`, left + width / 2, size * 0.8);
      if (n) svg("path", { class: "line", d: `M${left} ${ys[1]}v${y.length * UNIT}` }, root);
    }
    for (const n of range(labelled ? shapes[1][0] : 0)) {
      const [top, height] = [ys[1 + n * blocks[1]], blocks[1] * UNIT];
      if (height > size) label(root, `y[${n}]`, xs[0] - 4, top + height / 2, "before");
      if (n) svg("path", { class: "line", d: `M${xs[1]} ${top}h${x.length * UNIT}` }, root);
    }
  });
}

/** Give each tap its colour: a hue for each position, darker or lighter for each pair of channels. */
function colourTaps() {
  const style = document.styleSheets[0];
  const pairs = rows * perGroup;
  for (const { id, r, g, i, j } of taps) {
    const hue = 20 + (360 * (i * spatial.at(-1) + j) * pairs) / taps.length;
    const tint = pairs > 1 ? 0.12 * ((r * perGroup + g) / (pairs - 1) - 0.5) : 0;
    style.insertRule(`.t${id} { --hue: ${hue}; --tint: ${tint}; }`, style.cssRules.length);
  }
}
