
// Pointing: lights up the cells that belong to a cell, and says why.

let pinned = null; // the target that stays lit when the pointer leaves
let marks = []; // elements that light cells up; they ignore the pointer, for its events would be lost with them

const count = (n, one, more = `${one}s`) => `${n} ${n === 1 ? one : more}`;
const joinNames = (names, most = 3) => names.slice(0, most).join(", ") + (names.length > most ? ", …" : "");
const joinTerms = (terms, most = 9) =>
  [...terms.slice(0, most), ...(terms.length > most ? ["…"] : [])].join(" + ").replaceAll("+ -", "- ");

/** Return the entries of the matrix that belong to a target, as [row, column, taps]. */
function entriesOf({ kind, id }) {
  const width = model.x.length;
  const belongs = {
    entry: (r, c) => r * width + c === id,
    output: (r) => r === id,
    input: (r, c) => c === id,
    tap: (r, c, ids) => ids.includes(id),
  }[kind];
  const all = model.matrix.flatMap((row, r) => [...row].map(([c, ids]) => [r, c, ids]));
  return all.filter((entry) => belongs(...entry)).map(([r, c, ids]) => [r, c, kind === "tap" ? [id] : ids]);
}

/** Functions that return the sentence about a target, by its kind. */
const SENTENCES = {
  entry(id, entries) {
    const [r, c] = [Math.floor(id / model.x.length), id % model.x.length];
    const [y, x] = [model.y[r].name, model.x[c].name];
    if (entries.length === 0) return `${y} does not read ${x}: entry ${r}, ${c} is 0`;
    const ids = entries[0][2];
    const values = ids.length > 1 ? ` = ${joinTerms(ids.map((tap) => number(kernel[tap])))}` : "";
    const through = joinTerms(ids.map((tap) => taps[tap].name));
    return `${y} reads ${x} through ${through}${values} = ${number(sum(ids))} (entry ${r}, ${c})`;
  },
  output(id, entries) {
    const terms = entries.map(([, c, ids]) => `${number(sum(ids), 3)}·${number(model.x[c].value, 3)}`);
    const silent = (taps.length / rows / perGroup) * (C / groups) - entries.reduce((n, [, , ids]) => n + ids.length, 0);
    return `${model.y[id].name} = ${joinTerms(terms) || "0"} = ${number(model.y[id].value)}, row ${id} of W times x` +
      (silent ? `; ${count(silent, "tap reads", "taps read")} nothing here` : "");
  },
  input(id, entries) {
    const { name, value } = model.x[id];
    const readers = entries.map(([r]) => model.y[r].name);
    const which = readers.length ? `: ${joinNames(readers)}` : "";
    return `${name} = ${number(value)} is read by ${count(readers.length, "output")}${which} (column ${id} of W)`;
  },
  tap(id, entries) {
    const pairs = entries.map(([r, c]) => `${model.y[r].name} reads ${model.x[c].name}`);
    const which = pairs.length ? `: ${joinNames(pairs)}` : "";
    return `${taps[id].name} = ${number(kernel[id])} joins ${count(pairs.length, "pair")}${which}`;
  },
};

/** Return the keys of the cells that light up for a target, each with the taps whose colours its cells take. */
function lightOf(target, entries) {
  const colours = new Map([[keyOf(target), new Set()]]);
  const add = (kind, id, ids = []) => {
    const key = keyOf({ kind, id });
    colours.set(key, new Set([...(colours.get(key) ?? []), ...(kind === target.kind ? [] : ids)]));
  };
  const width = model.x.length;
  if (target.kind === "entry") {
    add("output", Math.floor(target.id / width));
    add("input", target.id % width);
  }
  for (const [r, c, ids] of entries) {
    add("output", r, ids);
    add("input", c, ids);
    add("entry", r * width + c);
    for (const id of ids) add("tap", id);
  }
  return colours;
}

/** Return bands along the row and the column of a target, in the matrix. */
function bandsOf({ kind, id }) {
  const { xs, ys } = pictures.matrix;
  const [width, height] = [model.x.length, model.y.length];
  const row = { output: id, entry: Math.floor(id / width) }[kind];
  const column = { input: id, entry: id % width }[kind];
  return [
    ...(row === undefined ? [] : [{ x: xs[1], y: ys[row + 1], width: width * UNIT, height: UNIT }]),
    ...(column === undefined ? [] : [{ x: xs[column + 1], y: ys[1], width: UNIT, height: height * UNIT }]),
  ].map((band) => svg("rect", { class: "band", ...band }));
}

/** Light up a target and all cells that belong to it, and no others; with null, none. */
function light(target) {
  for (const mark of marks) mark.remove();
  for (const element of document.querySelectorAll(".lit, .point")) element.classList.remove("lit", "point");
  marks = [];
  document.body.classList.toggle("pointing", target !== null);
  find("sentence").textContent = target ? "" : "Point at any cell.";
  if (!target) return;
  const entries = entriesOf(target);
  for (const [key, ids] of lightOf(target, entries)) for (const element of elements.get(key) ?? []) {
    const frame = svg("rect", { class: "frame", x: 0.8, y: 0.8, width: UNIT - 1.6, height: UNIT - 1.6 });
    const paints = stripes([...ids]);
    element.classList.add("lit");
    element.classList.toggle("point", key === keyOf(target));
    element.firstChild.after(...paints);
    element.append(frame);
    marks.push(frame, ...paints);
  }
  const bands = bandsOf(target);
  pictures.matrix.root.querySelector(".sheet").after(...bands);
  marks.push(...bands);
  for (const mark of marks) mark.style.pointerEvents = "none";
  find("sentence").textContent = SENTENCES[target.kind](target.id, entries);
  if (entries.length) reveal(entries[0]);
}

/** Scroll the matrix to an entry, unless the user points at the matrix itself. */
function reveal([r, c]) {
  const { box, root, width, xs, ys } = pictures.matrix;
  if (box.matches(":hover, :focus")) return;
  const unit = root.getBoundingClientRect().width / width;
  box.scrollTo(xs[c + 1] * unit - box.clientWidth / 2, ys[r + 1] * unit - box.clientHeight / 2);
}

/** Light up the cell at a row and column of a picture; if pinned, it stays lit and gets the arrow keys' cursor. */
function point(picture, row, column, pin) {
  const target = targetAt(picture, row, column);
  if (!target) return;
  if (pin) {
    const cell = { input: model.x, output: model.y, tap: taps }[target.kind]?.[target.id];
    pinned = target;
    picture.cursor = [row, column];
    picture.row.setAttribute("aria-rowindex", row + 1);
    picture.cell.setAttribute("aria-colindex", column + 1);
    picture.cell.textContent = cell ? `${cell.name} = ${number(cell.value)}` : `entry ${row - 1}, ${column - 1}`;
  }
  light(target);
}

/** Return the row and column of a picture at which an event happened. */
function positionOf({ root, width, xs, ys }, { clientX, clientY }) {
  const box = root.getBoundingClientRect();
  const nearest = (starts, pixel) => Math.max(starts.findLastIndex((s) => (s * box.width) / width <= pixel), 0);
  return [nearest(ys, clientY - box.top), nearest(xs, clientX - box.left)];
}

/** Steps of the cursor, in rows and columns, by key. */
const STEPS = {
  ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -Infinity], End: [0, Infinity],
};

/** Move the cursor of a picture by an arrow key, or clear the light by Esc. */
function press(picture, event) {
  const step = STEPS[event.key];
  if (event.key === "Escape") light((pinned = null));
  if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const [row, column] = picture.cursor.map((index, axis) =>
    Math.min(Math.max(index + step[axis], 0), picture[["ys", "xs"][axis]].length - 1));
  point(picture, row, column, true);
  elements.get(keyOf(pinned))?.find((element) => picture.box.contains(element))
    ?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** Make a picture: for assistive technology, a grid of one cell at a time, the cell at the cursor. */
function makePicture(name) {
  const box = find(name);
  const [row, cell] = [document.createElement("div"), document.createElement("span")];
  const picture = (pictures[name] = { box, row, cell, cursor: [0, 0] });
  box.setAttribute("role", "grid");
  row.setAttribute("role", "row");
  cell.setAttribute("role", "gridcell");
  cell.id = `${name}-cell`;
  row.className = "unseen";
  row.append(cell);
  box.append(row);
  box.tabIndex = 0;
  box.setAttribute("aria-activedescendant", cell.id);
  box.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse") point(picture, ...positionOf(picture, event), false);
  });
  box.addEventListener("pointerleave", () => light(pinned));
  box.addEventListener("click", (event) => point(picture, ...positionOf(picture, event), true));
  box.addEventListener("focus", () => box.matches(":focus-visible") && point(picture, ...picture.cursor, true));
  box.addEventListener("keydown", (event) => press(picture, event));
  new ResizeObserver(() => hideSmallText(picture)).observe(box);
}

// Settings

const form = find("controls");
const SHARED = ["stride", "dilation", "input_dilation", "padding", "lo", "hi", "boundary"];
const NUMBERS = ["size", "stride", "dilation", "input_dilation", "lo", "hi"];

/** Return the name of the pads of an axis, or "numbers" for pads without a name. */
const paddingName = (settings) => ["valid", "same", "full", "same_lower"].find((padding) =>
  `${axisOf({ ...settings, padding }).pads}` === `${[settings.lo, settings.hi]}`) ?? "numbers";

/** Return the controls of an axis, by key. */
function makeFields(settings, n) {
  const [size, fieldset] = ["size", "axis"].map((id) => find(id).content.cloneNode(true).firstElementChild);
  const controls = [...size.querySelectorAll("input"), ...fieldset.querySelectorAll("[data-key]")];
  for (const control of controls) {
    const { key } = control.dataset;
    control.name = `axis${n}-${key}`;
    if (control.type === "range") control.max = Math.max(settings[key], key !== "size" ? 4 : d === 1 ? 32 : 12);
    control.value = key === "padding" ? paddingName(settings) : settings[key];
  }
  fieldset.id = `axis${n}`;
  size.firstElementChild.textContent = d === 1 ? "length" : ["rows", "columns"][n];
  if (transposed) {
    fieldset.querySelector("[data-key=boundary]").parentElement.hidden = true;
    for (const pad of fieldset.querySelectorAll(".pad")) pad.textContent = pad.textContent.replace("pad", "cut");
  }
  find("sizes").append(size);
  form.append(fieldset);
  return Object.fromEntries(controls.map((control) => [control.dataset.key, control]));
}

const fields = start.axes.map(makeFields);

/** Return the settings of the controls, as one object for each axis. */
function read(event) {
  const [, n, key] = /^axis(\d)-(.*)$/.exec(event?.target.name ?? "") ?? [];
  if (key === "lo" || key === "hi") fields[n].padding.value = "numbers";
  const alike = form.alike.checked;
  if (alike) for (const name of SHARED) fields[1][name].value = fields[0][name].value;
  form.classList.toggle("alike", alike);
  form.querySelectorAll("fieldset[id^=axis] legend").forEach((legend, axis) => {
    const name = d === 1 ? "Axis" : `Axis ${axis}, ${["rows", "columns"][axis]}`;
    legend.textContent = alike ? "Both axes" : name;
  });
  for (const slider of form.querySelectorAll("[type=range]")) slider.nextElementSibling.value = slider.value;
  return fields.map((field, axis) => {
    const settings = { kernel: spatial[axis], padding: field.padding.value, boundary: field.boundary.value };
    for (const name of NUMBERS) settings[name] = field[name].valueAsNumber;
    if (settings.padding !== "numbers") [field.lo.value, field.hi.value] = axisOf(settings).pads;
    return settings;
  });
}

/** Compute and draw the map of the settings, or show why they make none. */
function update(event) {
  let message = "";
  try {
    model = compute(read(event), form.flip.checked);
    render();
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    message = error.message;
  }
  find("message").textContent = message;
  find("message").hidden = !message;
  document.body.classList.toggle("broken", message !== "");
  for (const id of ["pictures", "pane", "words"]) find(id).inert = message !== "";
}

/** Draw the map, and write its call and its geometry. */
function render() {
  const { a, b, x, y, matrix } = model;
  elements = new Map();
  drawKernel();
  drawImage("input", "c", x, [a.size, b.size], C);
  drawImage("output", "f", y, [a.out, b.out], F);
  drawMatrix(model);
  const entries = matrix.reduce((n, row) => n + row.size, 0);
  find("summary").textContent =
    `${count(y.length, "row")} for y, ${count(x.length, "column")} for x, ${count(entries, "entry", "entries")}`;
  find("call").textContent = callOf(model);
  find("copy").textContent = "Copy";
  const paragraphs = geometryOf(model).map((line) => Object.assign(document.createElement("p"), { textContent: line }));
  find("geometry").replaceChildren(...paragraphs);
  if (pinned && (pinned.kind === "entry" || !elements.has(keyOf(pinned)))) pinned = centre();
  light(pinned);
}

/** Return the target that lights up at first: the output in the middle. */
const centre = () => {
  const { a, b, y } = model;
  return { kind: "output", id: y.find(({ i, j }) => i === a.out >> 1 && j === b.out >> 1).id };
};

// Words

const tuple = (values) => (values.length === 1 ? `${values[0]}` : `(${values.join(", ")})`);

/** Return the call that makes the map. */
function callOf({ settings, axes, shapes, flip }) {
  // No call dilates an output, so a transposed map with input dilation is written as the transpose of a convolution.
  const isTranspose = transposed && axes.some((axis) => axis.stride !== 1);
  const options = [];
  const option = (name, values, usual) => {
    const alike = values.every((value) => value === values[0]);
    if (!alike || values[0] !== usual) options.push(`${name}=${alike ? values[0] : tuple(values)}`);
  };
  const pads = axes.map(({ pads: [lo, hi], size, stretch, span, out, stride }) =>
    [lo, isTranspose ? (size - 1) * stretch + span - ((out - 1) * stride + 1) - lo : hi]);
  option("stride", settings.map(({ stride }) => stride), 1);
  option("dilation", settings.map(({ dilation }) => dilation), 1);
  const names = new Set(settings.map(({ padding }) => padding));
  if (names.size === 1 && !names.has("numbers") && !isTranspose) option("padding", [`"${[...names]}"`], '"valid"');
  else if (new Set(pads.flat()).size === 1) option("padding", [pads[0][0]], 0);
  else options.push(`padding=[${pads.map((pair) => tuple(pair)).join(", ")}]`);
  option("boundary", settings.map(({ boundary }) => `"${boundary}"`), '"zero"');
  option("groups", [groups], 1);
  if (flip) options.push("flip=True");
  if (layout === "first") options.push('channels="first"');
  if (!transposed || isTranspose) option("input_dilation", settings.map((axis) => axis.input_dilation), 1);
  const name = transposed && !isTranspose ? "conv_transpose" : "conv";
  return `cm.${name}(${["K", tuple(shapes[isTranspose ? 1 : 0]), ...options].join(", ")})${isTranspose ? ".T" : ""}`;
}

/** Return lines on the sizes along each axis, as formulas and with numbers. */
function geometryOf({ axes, flip }) {
  const signed = (v) => (v < 0 ? `(${v})` : v);
  const back = flip ? ", with K reversed first (flip)" : "";
  const lines = axes.map(({ pads, size, taps: k, stride: s, stretch: e, dilation: t, stretched, lo, hi, out }, n) => {
    const head = d === 1 ? "" : `Axis ${n}: `;
    const end = `= ${out} ${out === 1 ? "output" : "outputs"}`;
    if (transposed && s === 1) return `${head}o = (n - 1)·s - lo - hi + t·(k - 1) + 1 = ` +
      `${size - 1}·${e} - ${signed(pads[0])} - ${signed(pads[1])} + ${t}·${k - 1} + 1 ${end}`;
    const n1 = e > 1 ? "n'" : "n";
    const note = e > 1 ? `, where n' = (n - 1)·e + 1 = ${stretched} counts the zeros between inputs` : "";
    return `${head}o = ⌊(${n1} + lo + hi - t·(k - 1) - 1) / s⌋ + 1 = ` +
      `⌊(${stretched} + ${signed(lo)} + ${signed(hi)} - ${t}·${k - 1} - 1) / ${s}⌋ + 1 ${end}${note}`;
  });
  const rule = transposed && axes.every((axis) => axis.stride === 1)
    ? `Each x[i] adds K[p]·x[i] to y[i·s - lo + p·t]${back}: the transpose of a convolution.`
    : `y[o] is the sum over p of K[p]·x[o·s - lo + p·t]${back}. The boundary continues x beyond its ends.`;
  const own = "This map is a transpose. K is its own kernel, in the reverse order of the array it was made with.";
  const letters = "n inputs, o outputs, k taps, stride s, dilation t, padding lo before and hi after.";
  return [rule, letters, ...lines, ...(start.own_kernel ? [own] : [])];
}

find("copy").addEventListener("click", async ({ target }) => {
  getSelection().selectAllChildren(find("call")); // to be copied by hand if the browser refuses the clipboard
  try {
    await navigator.clipboard.writeText(find("call").textContent);
    target.textContent = "Copied";
  } catch {
    target.textContent = "Selected";
  }
});

["kernel", "input", "output", "matrix"].forEach(makePicture);
colourTaps();
form.alike.checked = d === 2 && SHARED.every((key) => fields[0][key].value === fields[1][key].value);
find("alike-label").hidden = d === 1;
form.flip.checked = start.flip;
form.addEventListener("input", update);
form.addEventListener("submit", (event) => event.preventDefault());
pinned = { kind: "output", id: -1 };
update();

/** Numbers that the page shows, for scripts and tests; null if the settings make no map. */
const shown = (make) => () => (find("message").hidden ? make() : null);
window.convmtx = {
  matrix: shown(() => model.matrix.map((row) => model.x.map((_, c) => (row.has(c) ? sum(row.get(c)) : 0)))),
  input: shown(() => model.x.map(({ value }) => value)),
  output: shown(() => model.y.map(({ value }) => value)),
};
