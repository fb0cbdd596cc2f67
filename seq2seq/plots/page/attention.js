/*
 * Attention as links between words and as a matrix, for the page of `seq2seq serve` and that of `seq2seq attention`.
 *
 * `make_views` in page.py makes the views. The served page adds to a view `series`, 1 for the second model, and to a
 * map `likely`, the probability of each row. A spot is what the reader points at: {rows, columns}, each a list of
 * indices, or null for all of them.
 */

const SVG = "http://www.w3.org/2000/svg";
const WHOLE = { rows: null, columns: null };
const OTHER = { rows: "columns", columns: "rows" };
const DEEP = 0.717; // above it white text has more contrast to the color than black text, and on dark paper black text
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

function makeSvg(name, attributes = {}, text = "") {
	const node = document.createElementNS(SVG, name);
	for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
	node.textContent = text;
	return node;
}

/** Call a function at an event of a node. */
export const on = (node, type, call) => node.addEventListener(type, call);

/** Return a share as a whole number of percent. */
export const percent = (share) => (share > 0 && share < 0.005 ? "<1" : String(Math.round(100 * share)));

/** Offer a file for download. */
export function download(name, type, text) {
	const url = URL.createObjectURL(new Blob([text], { type }));
	make("a", { href: url, download: name }).click();
	setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** Put one of the buttons into the tab order, and take the others out. */
export function rove(buttons, next) {
	for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
}

/** Whether a key belongs to the browser. */
export const isChord = (event) => event.altKey || event.ctrlKey || event.metaKey || event.shiftKey;

const isolated = (text) => "\u2068" + text + "\u2069"; // right-to-left words must not reorder the sentence around them
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** The picture of attention: the choice of view, unit and head; the words and their links; the matrix. */
export class Picture {
	/** `whenPointed(spot)` and `whenChosen()` tell the page what the reader points at, and that a choice has changed. */
	constructor({ home, controls, whenPointed = () => {}, whenChosen = () => {} }) {
		Object.assign(this, { home, whenPointed, whenChosen, views: [], chosen: {}, weights: [], width: 0 });
		Object.assign(this, { hovered: null, focused: null, pinned: null, words: { rows: [], columns: [] } });

		// what the reader chooses
		const group = (legend) => make("fieldset", {}, make("legend", { className: "hidden" }, legend));
		this.choices = { view: group("Which attention"), unit: group("Words or tokens") };
		this.heads = make("select");
		this.headField = make("label", { className: "field" }, make("span", {}, "Head"), this.heads);
		controls.append(this.choices.view, this.headField, this.choices.unit);
		on(this.heads, "change", () => this.choose({ head: this.heads.value }));

		// the links and the matrix
		this.lines = makeSvg("svg", { "aria-hidden": "true" });
		this.names = { columns: make("h3", { id: "columns-name" }), rows: make("h3", { id: "rows-name" }) };
		const toolbar = (side) =>
			make("div", { className: `words ${side}`, role: "toolbar", "aria-labelledby": `${side}-name` });
		this.sides = { columns: toolbar("columns"), rows: toolbar("rows") };
		this.board = make("div", { className: "board" }, this.lines,
			this.names.columns, this.sides.columns, this.sides.rows, this.names.rows);
		this.readout = make("p", { className: "readout" });
		this.table = make("table");
		const title = make("h3", { id: "matrix-name" }, "Weights in percent: each row looks at the columns");
		this.scroll = make("div",
			{ className: "scroll", tabIndex: 0, role: "region", "aria-labelledby": "matrix-name" }, this.table);
		home.append(
			make("section", { className: "links", ariaLabel: "Links between words" }, this.board, this.readout),
			make("div", { className: "matrix" }, title, this.scroll),
		);

		// what the reader points at
		on(this.table, "pointerover", (event) => {
			const spot = spotOf(event.target.closest("td, th"));
			if (event.pointerType === "mouse" && !same(spot, this.hovered)) this.point(spot);
		});
		on(this.table, "pointerleave", () => this.point(null));
		on(this.board, "click", () => this.pin(null));
		new ResizeObserver(() => this.arrange()).observe(home);
	}

	get view() { return this.views.find(({ name }) => name === this.chosen.view) ?? this.views[0]; }
	get units() { return Object.keys(this.view?.maps ?? { words: 0 }); }
	get unit() { return this.units.find((unit) => unit === this.chosen.unit) ?? this.units[0]; }
	get map() { return this.view.maps[this.unit]; }
	get head() { return Math.max(0, this.map.heads.indexOf(this.chosen.head)); }
	get spot() { return this.hovered ?? this.focused ?? this.pinned ?? WHOLE; }

	// --- built for each map

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

	/** Offer names as radio buttons; they are hidden if there is only one. */
	offer(choice, names, chosen) {
		const group = this.choices[choice];
		group.hidden = names.length < 2;
		if (!same(names, [...group.querySelectorAll("input")].map((input) => input.value))) {
			for (const label of group.querySelectorAll("label")) label.remove();
			group.append(...names.map((name) => {
				const input = make("input", { type: "radio", name: choice, value: name });
				on(input, "change", () => this.choose({ [choice]: name }));
				return make("label", { className: "choice" }, input, make("span", {}, name));
			}));
		}
		for (const input of group.querySelectorAll("input")) input.checked = input.value === chosen;
	}

	/** Build the choices, the words and the matrix. */
	build() {
		const { view, map } = this;
		Object.assign(this, { weights: map.weights[this.head], hovered: null, focused: null, pinned: null });
		this.offer("view", this.views.map(({ name }) => name), view.name);
		this.offer("unit", this.units, this.unit);
		this.headField.hidden = map.heads.length < 2;
		this.heads.replaceChildren(...map.heads.map((name) => make("option", { value: name }, name)));
		this.heads.value = map.heads[this.head];

		// the words, and the matrix
		const languages = view.languages ?? { rows: "", columns: "" };
		this.home.classList.toggle("second", view.series === 1);
		for (const side of ["columns", "rows"]) {
			this.names[side].textContent = view[side];
			this.words[side] = map[side].map((text, index) => this.makeWord(text, side, index));
			this.sides[side].replaceChildren(...this.words[side]);
			this.sides[side].lang = languages[side];
		}
		const heads = map.columns.map((text) =>
			make("th", { scope: "col", lang: languages.columns }, make("span", {}, text)));
		const lines = map.rows.map((text, row) => make("tr", {},
			make("th", { scope: "row", title: text, lang: languages.rows }, text),
			...this.weights[row].map((weight) => tint(make("td", {}, weight >= 0.005 ? percent(weight) : ""), weight))));
		this.table.replaceChildren(
			make("thead", {}, make("tr", {}, make("td"), ...heads)), make("tbody", {}, ...lines));
		this.table.classList.toggle("dense", map.columns.length > 14);
		this.width = 0; // the words are new, so they are arranged anew
		this.arrange();
	}

	/** Make the button of a word. */
	makeWord(text, side, index) {
		const spot = { ...WHOLE, [side]: [index] };
		const button = make("button", { type: "button", className: "chip", tabIndex: index ? -1 : 0, dir: "auto" }, text);
		on(button, "pointerenter", (event) => { if (event.pointerType === "mouse") this.lead(spot); });
		on(button, "pointerleave", () => this.point(null));
		on(button, "focus", () => {
			rove(this.words[side], button);
			this.focused = button.matches(":focus-visible") ? spot : null;
			this.paint();
		});
		on(button, "blur", () => { this.focused = null; this.paint(); });
		on(button, "click", (event) => { event.stopPropagation(); this.toggle(side, index); });
		on(button, "keydown", (event) => this.travel(event, side, index));
		return button;
	}

	/** Follow the arrow keys: along a side, or across to the strongest link. */
	travel(event, side, index) {
		const tall = this.board.classList.contains("tall");
		const words = this.words[side];
		const weights = side === "rows" ? this.weights[index] : this.weights.map((line) => line[index]);
		const across = this.words[OTHER[side]][weights.indexOf(Math.max(...weights))];
		const flat = getComputedStyle(this.sides[side]).direction === "rtl"
			? ["ArrowLeft", "ArrowRight"] : ["ArrowRight", "ArrowLeft"];
		const [forward, back, down, up] = tall
			? ["ArrowDown", "ArrowUp", "ArrowRight", "ArrowLeft"] : [...flat, "ArrowDown", "ArrowUp"];
		const next = { [forward]: words[index + 1], [back]: words[index - 1], Home: words[0], End: words.at(-1),
			[side === "columns" ? down : up]: across }[event.key];
		if (!next || isChord(event)) return;
		event.preventDefault();
		next.focus();
	}

	// --- what the reader points at

	/** Point at a spot, or nowhere with null. */
	point(spot) {
		this.hovered = spot;
		this.paint();
	}

	/** Point at a word, and bring its greatest weight into view where the matrix is wider than its place. */
	lead(spot) {
		this.point(spot);
		const [row, column] = this.links(spot).reduce((best, link) => (link[2] > best[2] ? link : best));
		this.scroll.scrollLeft = this.table.rows[row + 1].cells[column + 1].offsetLeft - this.scroll.clientWidth / 2;
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

	// --- painted when the pointer moves

	/** Return all links of a spot, as [row, column, weight]. */
	links({ rows, columns }) {
		return this.weights.flatMap((weights, row) => (rows?.includes(row) ?? true)
			? weights.map((weight, column) => [row, column, weight]).filter((link) => columns?.includes(link[1]) ?? true)
			: []);
	}

	/** Return how much each word of a side is linked to the words of the spot on the other side. */
	shares(side, spot) {
		const other = spot[OTHER[side]];
		if (spot[side] || !other) return this.words[side].map(() => 0);
		return this.words[side].map((_, i) =>
			sum(other.map((j) => (side === "rows" ? this.weights[i][j] : this.weights[j][i]))));
	}

	/** Describe a spot in words. */
	describe(spot) {
		const { rows, columns } = spot;
		if (!rows && !columns) return HINT;
		const side = rows ? "rows" : "columns";
		const names = spot[side].map((i) => isolated(this.map[side][i])).join(" + ");
		const shares = rows && columns
			? [[this.weights[rows[0]][columns[0]], this.map.columns[columns[0]]]]
			: this.shares(OTHER[side], spot).map((share, i) => [share, this.map[OTHER[side]][i]]).sort((a, b) => b[0] - a[0])
				.filter(([share]) => share >= 0.005).slice(0, 4);
		const list = shares.map(([share, text]) => `${isolated(text)} ${percent(share)} %`).join(", ") || "nothing";
		const many = spot[side].length > 1;
		if (!rows) return `${names} ${many ? "are" : "is"} looked at by ${list}`;
		const { likely } = this.map;
		const chance = likely && !many ? ` (probability ${percent(likely[rows[0]])} %)` : "";
		return `${names}${chance} ${many ? "look" : "looks"} at ${list}`;
	}

	/** Show the links of the current spot in words, matrix, sentence and lines. */
	paint() {
		if (!this.views.length) return;
		const { spot } = this;
		for (const side of ["rows", "columns"]) {
			const shares = this.shares(side, spot);
			this.words[side].forEach((button, i) => {
				tint(button, Math.min(1, shares[i]));
				button.classList.toggle("chosen", spot[side]?.includes(i) ?? false);
				button.dataset.share = shares[i] >= 0.005 ? percent(shares[i]) : "";
				button.ariaPressed = String(this.pinned?.[side]?.includes(i) ?? false);
			});
		}
		[...this.table.rows].forEach((line, i) => [...line.cells].forEach((cell, j) => {
			const [inRow, inColumn] = [spot.rows?.includes(i - 1), spot.columns?.includes(j - 1)];
			cell.classList.toggle("lit", i && j ? spot !== WHOLE && (inRow ?? true) && (inColumn ?? true)
				: Boolean(i ? inRow : inColumn));
		}));
		this.readout.textContent = this.describe(spot);
		this.draw();
		this.whenPointed(spot);
	}

	/** Lay the words out in two rows or, where those would wrap, in two columns; then paint. */
	arrange() {
		if (!this.views.length || !this.home.clientWidth) return;
		if (this.home.clientWidth !== this.width) {
			this.width = this.home.clientWidth;
			this.board.classList.remove("tall");
			const wraps = Object.values(this.words).some((words) => words.at(-1).offsetTop > words[0].offsetTop + 4);
			this.board.classList.toggle("tall", wraps);
		}
		this.paint();
	}

	/** Draw a curve for each link of the spot; where there is none, for all links but the weakest. */
	draw() {
		const idle = this.spot === WHOLE;
		const tall = this.board.classList.contains("tall");
		const board = this.board.getBoundingClientRect();
		const ends = (side, edge) => this.words[side].map((word) => {
			const box = word.getBoundingClientRect();
			return tall ? [box[edge] - board.left, box.top + box.height / 2 - board.top]
				: [box.left + box.width / 2 - board.left, box[edge] - board.top];
		});
		const [to, from] = [ends("rows", tall ? "left" : "top"), ends("columns", tall ? "right" : "bottom")];
		const links = this.links(this.spot).filter(([, , weight]) => weight >= (idle ? 0.05 : 0.01));
		this.lines.replaceChildren(...links.sort((a, b) => a[2] - b[2]).map(([row, column, weight]) => {
			const [[a, b], [c, d]] = [from[column], to[row]];
			const bend = tall ? `${(a + c) / 2} ${b} ${(a + c) / 2} ${d}` : `${a} ${(b + d) / 2} ${c} ${(b + d) / 2}`;
			return makeSvg("path", { d: `M${a} ${b}C${bend} ${c} ${d}`,
				"stroke-width": (idle ? 1 + 2.5 * weight : 1.25 + 5 * weight).toFixed(2),
				"stroke-opacity": (idle ? 0.25 + 0.5 * weight : 0.6 + 0.4 * weight).toFixed(2) });
		}));
	}

	// --- to take away

	/** Return what is on the screen, the words with their links and the matrix, as a picture of vectors. */
	toSvg() {
		const frame = this.home.getBoundingClientRect();
		const height = frame.height;
		const width = Math.ceil(Math.max(frame.width, this.table.getBoundingClientRect().right - frame.left + 20));
		const svg = makeSvg("svg", { viewBox: `0 0 ${width} ${height}`, width, height });

		// colors as programs read them that do not know today's color spaces
		const pixel = make("canvas", { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
		const plain = (color) => {
			pixel.clearRect(0, 0, 1, 1);
			pixel.fillStyle = color;
			pixel.fillRect(0, 0, 1, 1);
			const [red, green, blue, alpha] = pixel.getImageData(0, 0, 1, 1).data;
			return alpha ? `rgb(${red},${green},${blue})` : "none";
		};
		svg.append(makeSvg("rect", { width, height, fill: plain(getComputedStyle(this.home).backgroundColor) }));

		// the lines, then the boxes over them, each with its text
		const origin = this.board.getBoundingClientRect();
		const ink = getComputedStyle(this.lines);
		const lines = makeSvg("g", { transform: `translate(${origin.left - frame.left} ${origin.top - frame.top})`, fill: "none",
			stroke: plain(ink.stroke), "stroke-linecap": ink.strokeLinecap, "stroke-dasharray": ink.strokeDasharray });
		lines.append(...[...this.lines.children].map((line) => line.cloneNode()));
		svg.append(lines);
		for (const node of this.home.querySelectorAll(".chip, td, tbody th, thead th span, .board h3")) {
			const [box, style] = [node.getBoundingClientRect(), getComputedStyle(node)];
			const [x, y] = [box.left - frame.left, box.top - frame.top];
			const upright = style.writingMode !== "horizontal-tb";
			const anchor = upright ? "middle" : { start: "start", right: "end", end: "end" }[style.textAlign] ?? "middle";
			const [cx, cy] = [x + { start: 0, middle: box.width / 2, end: box.width - 8 }[anchor], y + box.height / 2];
			svg.append(
				makeSvg("rect", { x, y, width: box.width, height: box.height, rx: parseFloat(style.borderRadius) || 0,
					fill: plain(style.backgroundColor), stroke: parseFloat(style.borderTopWidth) ? plain(style.borderTopColor) : "none" }),
				makeSvg("text", { x: cx, y: cy, transform: upright ? `rotate(90 ${cx} ${cy})` : "", "text-anchor": anchor,
					"dominant-baseline": "central", fill: plain(style.color), "font-size": style.fontSize,
					"font-family": style.fontFamily, "font-weight": style.fontWeight }, node.textContent),
			);
		}
		return new XMLSerializer().serializeToString(svg);
	}
}

/** Return the spot of a cell of the matrix, or of the head of a row or a column. */
function spotOf(cell) {
	const [row, column] = cell ? [cell.parentNode.rowIndex - 1, cell.cellIndex - 1] : [-1, -1];
	if (row < 0 && column < 0) return null;
	return { rows: row < 0 ? null : [row], columns: column < 0 ? null : [column] };
}

/** Color a node by a weight. */
function tint(node, weight) {
	node.style.setProperty("--w", weight);
	node.classList.toggle("deep", weight > DEEP);
	return node;
}
