/*
 * Attention drawn twice, as links between words and as a matrix, for the page that `seq2seq serve` shows and for the
 * page that `seq2seq attention` writes.
 *
 * A view is {name, rows, columns, maps: {words: map, tokens: map}}, and a map {rows, columns, heads,
 * weights[head][row][column]}; `make_views` in page.py makes them. The page may add `series` (1 for a second model),
 * `languages: {rows, columns}` and, in a map, `likely`: the probability of each row.
 *
 * A spot is what the reader points at: {rows, columns}, each a list of indices, or null for all of them.
 */

const SVG = "http://www.w3.org/2000/svg";
const WHOLE = { rows: null, columns: null };
const DEEP = 0.717; // at this weight black and white text have the same contrast to the cell (4.6): lightness 0.57
const HINT = "Point at a word to see its links, or press it to keep them: several words are added up. "
  + "A thicker line is a greater weight.";

/** Make an element; properties that it lacks become attributes. */
export function make(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

/** Return a share as a whole number of percent. */
export const percent = (share) => (share > 0 && share < 0.005 ? "<1" : String(Math.round(100 * share)));

/** Offer a file for download. */
export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** Move among the buttons of a toolbar, of which one is in the tab order. */
export function rove(buttons, next) {
  for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
}

const isolated = (text) => "\u2068" + text + "\u2069"; // right-to-left words must not reorder the sentence around them
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** The picture of attention: the choice of view, unit and head; the words and their links; the matrix. */
export class Picture {
  /** `whenPointed(spot, view)` and `whenChosen()` tell the page what the reader points at and that a choice changed. */
  constructor({ home, controls, whenPointed = () => {}, whenChosen = () => {} }) {
    Object.assign(this, { home, whenPointed, whenChosen, views: [], weights: [], width: 0 });
    Object.assign(this, { chosen: {}, hovered: null, focused: null, pinned: null, words: { rows: [], columns: [] } });

    // what the reader chooses
    this.choices = {
      views: make("fieldset", {}, make("legend", { className: "hidden" }, "Which attention")),
      units: make("fieldset", {}, make("legend", { className: "hidden" }, "Words or tokens")),
    };
    this.heads = make("select");
    this.headLabel = make("label", { className: "field" }, make("span", {}, "Head"), this.heads);
    controls.append(this.choices.views, this.headLabel, this.choices.units);
    this.heads.addEventListener("change", () => this.choose({ head: this.heads.value }));

    // the links and the matrix
    this.lines = document.createElementNS(SVG, "svg");
    this.lines.setAttribute("aria-hidden", "true");
    this.names = { columns: make("h3", { id: "columns-name" }), rows: make("h3", { id: "rows-name" }) };
    this.sides = Object.fromEntries(["columns", "rows"].map((side) =>
      [side, make("div", { className: `words ${side}`, role: "toolbar", "aria-labelledby": `${side}-name` })]));
    this.board = make("div", { className: "board" }, this.lines,
      this.names.columns, this.sides.columns, this.sides.rows, this.names.rows);
    this.readout = make("p", { className: "readout" });
    this.table = make("table");
    this.scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-labelledby": "matrix-name" },
      this.table);
    home.append(
      make("section", { className: "links", "aria-label": "Links between words" }, this.board, this.readout),
      make("section", { className: "matrix", "aria-labelledby": "matrix-name" },
        make("h3", { id: "matrix-name" }, "Weights in percent: each row looks at the columns"), this.scroll,
        make("p", { className: "scale", ariaHidden: "true" }, "0", make("i"), "100 %")),
    );

    // what the reader points at
    this.table.addEventListener("pointerover", (event) => this.hover(event, this.spotOf(event.target)));
    this.table.addEventListener("pointerleave", (event) => this.hover(event, null));
    this.board.addEventListener("click", () => this.pin(null));
    new ResizeObserver(() => this.arrange()).observe(home);
  }

  get view() { return this.views.find(({ name }) => name === this.chosen.view) ?? this.views[0]; }
  get unit() { return this.view && this.chosen.unit in this.view.maps ? this.chosen.unit : "words"; }
  get map() { return this.view.maps[this.unit]; }
  get head() { return Math.max(0, this.map.heads.indexOf(this.chosen.head)); }
  get spot() { return this.hovered ?? this.focused ?? this.pinned ?? WHOLE; }

  // ------------------------------------------------------------------------------------------- built for each map

  /** Show other views; what the reader chose stays chosen where it is still there. */
  show(views) {
    this.views = views;
    this.build();
  }

  /** Choose a view, a unit or a head by its name. */
  choose(choice) {
    Object.assign(this.chosen, choice);
    this.build();
    this.whenChosen();
  }

  /** Offer a choice as radio buttons; it is hidden if there is only one. */
  offer(id, names, chosen, choose) {
    const group = this.choices[id];
    group.hidden = names.length < 2;
    const inputs = [...group.querySelectorAll("input")];
    if (!same(names, inputs.map((input) => input.value))) {
      for (const label of group.querySelectorAll("label")) label.remove();
      group.append(...names.map((name) => make("label", { className: "choice" },
        make("input", { type: "radio", name: id, value: name }), make("span", {}, name))));
    }
    group.querySelectorAll("input").forEach((input, i) => {
      input.checked = names[i] === chosen;
      input.onchange = () => choose(names[i]);
    });
  }

  /** Build the choices, the words and the matrix. */
  build() {
    const { view, map } = this;
    Object.assign(this, { weights: map.weights[this.head], hovered: null, focused: null, pinned: null });
    this.offer("views", this.views.map(({ name }) => name), view.name, (name) => this.choose({ view: name }));
    this.offer("units", Object.keys(view.maps), this.unit, (unit) => this.choose({ unit }));
    this.headLabel.hidden = map.heads.length < 2;
    this.heads.replaceChildren(...map.heads.map((name) => make("option", { value: name }, name)));
    this.heads.value = map.heads[this.head];

    // the words, and the matrix
    this.home.classList.toggle("second", view.series === 1);
    for (const side of ["columns", "rows"]) {
      this.names[side].textContent = view[side];
      this.words[side] = map[side].map((text, index) => this.makeWord(text, side, index));
      this.sides[side].replaceChildren(...this.words[side]);
      this.sides[side].lang = view.languages?.[side] ?? "";
    }
    const heads = map.columns.map((text) => make("th", { scope: "col", lang: view.languages?.columns ?? "" },
      make("span", {}, text)));
    const cells = this.weights.map((line) => line.map((weight) => {
      const cell = make("td", {}, weight >= 0.005 ? percent(weight) : "");
      cell.style.setProperty("--w", weight);
      cell.classList.toggle("deep", weight > DEEP);
      return cell;
    }));
    this.table.replaceChildren(
      make("thead", {}, make("tr", {}, make("td"), ...heads)),
      make("tbody", {}, ...map.rows.map((text, row) => make("tr", {},
        make("th", { scope: "row", title: text, lang: view.languages?.rows ?? "" }, text), ...cells[row]))),
    );
    this.table.classList.toggle("dense", map.columns.length > 14);
    this.width = 0; // the words are new, so they are arranged anew
    this.arrange();
  }

  /** Make the button of a word. */
  makeWord(text, side, index) {
    const spot = { ...WHOLE, [side]: [index] };
    const button = make("button", { type: "button", className: "chip", tabIndex: index ? -1 : 0, dir: "auto" }, text);
    button.addEventListener("pointerenter", (event) => this.hover(event, spot));
    button.addEventListener("pointerleave", (event) => this.hover(event, null));
    button.addEventListener("focus", () => {
      rove(this.words[side], button);
      this.focused = button.matches(":focus-visible") ? spot : null;
      this.paint();
    });
    button.addEventListener("blur", () => { this.focused = null; this.paint(); });
    button.addEventListener("click", (event) => { event.stopPropagation(); this.toggle(side, index); });
    button.addEventListener("keydown", (event) => this.travel(event, side, index));
    return button;
  }

  /** Follow the arrow keys: along a side, or across to the strongest link. */
  travel(event, side, index) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return; // the browser's own keys
    const tall = this.board.classList.contains("tall");
    const rightToLeft = getComputedStyle(this.sides[side]).direction === "rtl" && !tall;
    const words = this.words[side];
    const weights = side === "rows" ? this.weights[index] : this.weights.map((line) => line[index]);
    const across = this.words[side === "rows" ? "columns" : "rows"][weights.indexOf(Math.max(...weights))];
    const [forward, back, down, up] = tall
      ? ["ArrowDown", "ArrowUp", "ArrowRight", "ArrowLeft"]
      : [...(rightToLeft ? ["ArrowLeft", "ArrowRight"] : ["ArrowRight", "ArrowLeft"]), "ArrowDown", "ArrowUp"];
    const next = { [forward]: words[index + 1], [back]: words[index - 1], Home: words[0], End: words.at(-1),
      [side === "columns" ? down : up]: across }[event.key];
    if (next) { event.preventDefault(); next.focus(); }
  }

  // ---------------------------------------------------------------------------------- what the reader points at

  spotOf(target) {
    const cell = target.closest("td, th");
    const [row, column] = cell ? [cell.parentNode.rowIndex - 1, cell.cellIndex - 1] : [-1, -1];
    if (row < 0 && column < 0) return null;
    return { rows: row < 0 ? null : [row], columns: column < 0 ? null : [column] };
  }

  hover(event, spot) {
    if (event.pointerType === "mouse" && !same(spot, this.hovered)) this.point(spot);
  }

  /** Point at a spot, or nowhere with null. */
  point(spot) {
    this.hovered = spot;
    this.paint();
  }

  /** Keep the links of a word, or no longer keep them; words of one side are kept together. */
  toggle(side, index) {
    const kept = this.pinned?.[side] ?? [];
    const now = kept.includes(index) ? kept.filter((i) => i !== index) : [...kept, index].sort((a, b) => a - b);
    this.pin(now.length ? { ...WHOLE, [side]: now } : null);
  }

  pin(spot) {
    Object.assign(this, { pinned: spot, hovered: null, focused: null });
    this.paint();
  }

  /** Take back what is shown; return whether anything was. */
  dismiss() {
    const shown = this.spot !== WHOLE;
    this.pin(null);
    return shown;
  }

  // ----------------------------------------------------------------------------- painted when the pointer moves

  /** Return all links of a spot, as [row, column, weight]. */
  links({ rows, columns }) {
    return this.weights.flatMap((weights, row) => (rows?.includes(row) ?? true)
      ? weights.map((weight, column) => [row, column, weight]).filter(([, column]) => columns?.includes(column) ?? true)
      : []);
  }

  /** Return how much each word of a side is linked to the words of the spot on the other side. */
  shares(side, spot) {
    const other = spot[side === "rows" ? "columns" : "rows"];
    if (spot[side] || !other) return this.words[side].map(() => 0);
    return this.words[side].map((_, i) =>
      sum(other.map((j) => (side === "rows" ? this.weights[i][j] : this.weights[j][i]))));
  }

  /** Describe a spot in words. */
  describe(spot) {
    const { rows, columns, likely } = this.map;
    if (!spot.rows && !spot.columns) return HINT;
    const list = (side, indices) => indices.map((i) => isolated(this.map[side][i])).join(" + ");
    if (spot.rows && spot.columns) {
      const [row, column] = [spot.rows[0], spot.columns[0]];
      return `${isolated(rows[row])} looks at ${isolated(columns[column])}: ${percent(this.weights[row][column])} %`;
    }
    const [side, other] = spot.rows ? ["rows", "columns"] : ["columns", "rows"];
    const strongest = this.shares(other, spot).map((share, i) => [share, this.map[other][i]])
      .filter(([share]) => share >= 0.005).sort((a, b) => b[0] - a[0]).slice(0, 4)
      .map(([share, text]) => `${isolated(text)} ${percent(share)} %`).join(", ") || "nothing";
    const many = spot[side].length > 1;
    if (side === "columns") return `${list(side, spot.columns)} ${many ? "are" : "is"} looked at by ${strongest}`;
    const chance = likely && !many ? ` (probability ${percent(likely[spot.rows[0]])} %)` : "";
    return `${list(side, spot.rows)}${chance} ${many ? "look" : "looks"} at ${strongest}`;
  }

  /** Show the links of the current spot in words, matrix, sentence and lines. */
  paint() {
    if (!this.views.length) return;
    const spot = this.spot;
    for (const side of ["rows", "columns"]) {
      const shares = this.shares(side, spot);
      this.words[side].forEach((button, i) => {
        const share = Math.min(1, shares[i]);
        button.style.setProperty("--w", share);
        button.classList.toggle("deep", share > DEEP);
        button.classList.toggle("chosen", spot[side]?.includes(i) ?? false);
        button.dataset.share = shares[i] >= 0.005 ? percent(shares[i]) : "";
        button.ariaPressed = String(this.pinned?.[side]?.includes(i) ?? false);
      });
    }
    const idle = spot === WHOLE;
    this.table.classList.toggle("pointed", !idle);
    [...this.table.rows].forEach((line, i) => [...line.cells].forEach((cell, j) => {
      const [inRow, inColumn] = [spot.rows?.includes(i - 1) ?? true, spot.columns?.includes(j - 1) ?? true];
      cell.classList.toggle("lit", !idle && (i === 0 ? inColumn && !!spot.columns
        : j === 0 ? inRow && !!spot.rows : inRow && inColumn));
    }));
    this.readout.textContent = this.describe(spot);
    this.draw();
    this.whenPointed(spot, this.view);
  }

  /** Lay the words out in two rows or, where those would wrap, in two columns; then draw. */
  arrange() {
    if (!this.views.length || !this.home.clientWidth) return;
    if (this.home.clientWidth !== this.width) {
      this.width = this.home.clientWidth;
      this.board.classList.remove("tall");
      const wraps = Object.values(this.words).some((words) => words.at(-1)?.offsetTop > words[0]?.offsetTop + 4);
      this.board.classList.toggle("tall", wraps);
    }
    this.paint();
  }

  /** Draw a curve for each link of the spot; where there is none, for all links but the weakest. */
  draw() {
    const spot = this.spot;
    const idle = spot === WHOLE;
    const tall = this.board.classList.contains("tall");
    const board = this.board.getBoundingClientRect();
    const boxes = (side) => this.words[side].map((word) => word.getBoundingClientRect());
    const [rows, columns] = [boxes("rows"), boxes("columns")];
    const leftToRight = tall && rows.length && columns.length ? columns[0].right < rows[0].left : true;
    this.lines.replaceChildren(...this.links(spot).filter(([, , weight]) => weight >= (idle ? 0.05 : 0.01))
      .sort((a, b) => a[2] - b[2]).map(([row, column, weight]) => {
        const [from, to] = [columns[column], rows[row]];
        const [x1, y1, x2, y2] = tall
          ? [leftToRight ? from.right : from.left, from.top + from.height / 2,
            leftToRight ? to.left : to.right, to.top + to.height / 2]
          : [from.left + from.width / 2, from.bottom, to.left + to.width / 2, to.top];
        const [a, b, c, d] = [x1 - board.left, y1 - board.top, x2 - board.left, y2 - board.top];
        const [e, f] = [(a + c) / 2, (b + d) / 2];
        const path = document.createElementNS(SVG, "path");
        path.setAttribute("d", tall ? `M${a} ${b}C${e} ${b} ${e} ${d} ${c} ${d}` : `M${a} ${b}C${a} ${f} ${c} ${f} ${c} ${d}`);
        path.setAttribute("stroke-width", (idle ? 1 + 2.5 * weight : 1.25 + 5 * weight).toFixed(2));
        path.setAttribute("stroke-opacity", (idle ? 0.25 + 0.5 * weight : 0.6 + 0.4 * weight).toFixed(2));
        return path;
      }));
  }

  // -------------------------------------------------------------------------------------------------- to take away

  /** Return what is on the screen, the words with their links and the matrix, as a picture of vectors. */
  toSvg() {
    const frame = this.home.getBoundingClientRect();
    const canvas = make("canvas", { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
    const plain = (color) => { // as programs that do not know today's color spaces read it
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
      return { color: `rgb(${red},${green},${blue})`, alpha: (alpha / 255).toFixed(3) };
    };
    const svg = document.createElementNS(SVG, "svg");
    const add = (name, attributes, text = "") => {
      const node = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
      node.textContent = text;
      svg.append(node);
    };
    const width = Math.ceil(Math.max(frame.width, this.table.getBoundingClientRect().right - frame.left + 20));
    for (const [key, value] of Object.entries({ viewBox: `0 0 ${width} ${frame.height}`, width, height: frame.height })) {
      svg.setAttribute(key, value);
    }
    add("rect", { width: "100%", height: "100%", fill: plain(getComputedStyle(this.home).backgroundColor).color });

    // the lines, then the boxes over them, each with its text
    const origin = this.board.getBoundingClientRect();
    const ink = getComputedStyle(this.lines);
    for (const line of this.lines.children) {
      const own = Object.fromEntries([...line.attributes].map(({ name, value }) => [name, value]));
      add("path", { ...own, transform: `translate(${origin.left - frame.left} ${origin.top - frame.top})`, fill: "none",
        stroke: plain(ink.stroke).color, "stroke-linecap": ink.strokeLinecap, "stroke-dasharray": ink.strokeDasharray });
    }
    for (const node of this.home.querySelectorAll(".chip, td, tbody th, thead th span, .board h3")) {
      const [box, style] = [node.getBoundingClientRect(), getComputedStyle(node)];
      const [x, y] = [box.left - frame.left, box.top - frame.top];
      const [fill, stroke] = [plain(style.backgroundColor), plain(style.borderTopColor)];
      add("rect", { x, y, width: box.width, height: box.height, rx: parseFloat(style.borderRadius) || 0, fill: fill.color,
        "fill-opacity": fill.alpha, stroke: parseFloat(style.borderTopWidth) ? stroke.color : "none", "stroke-opacity": stroke.alpha });
      const anchor = { left: "start", start: "start", right: "end", end: "end" }[style.textAlign] ?? "middle";
      const [cx, cy] = [x + { start: 0, middle: box.width / 2, end: box.width - 8 }[anchor], y + box.height / 2];
      const turned = style.writingMode === "horizontal-tb" ? {} : { transform: `rotate(90 ${x + box.width / 2} ${cy})` };
      add("text", { x: "transform" in turned ? x + box.width / 2 : cx, y: cy, "text-anchor": "transform" in turned ? "middle" : anchor,
        fill: plain(style.color).color, "font-size": style.fontSize, "font-family": style.fontFamily,
        "font-weight": style.fontWeight, "dominant-baseline": "central", ...turned }, node.textContent);
    }
    return new XMLSerializer().serializeToString(svg);
  }
}
