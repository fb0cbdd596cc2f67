/*
 * The page of `seq2seq serve`: a text and its translation, word by word; other words at each step; a second model; and
 * the picture of attention. It asks the server for v1/models, v1/translate and v1/next. The address keeps what the
 * reader chose, so that a link shows the same page.
 */

import { Picture, download, isChord, make, on, percent, rove } from "./attention.js";

const DEBOUNCE = 80; // ms from a key to the first request, a greedy search
const COMPOSING = 250; // ms instead, while an input method composes: its letters still change
const REST = 400; // ms of rest before the search with the beam, and attention
const QUIET = 1000; // ms of rest before a screen reader hears the translation
const PATIENCE = 60_000; // ms before a silent server counts as gone
const LONGEST = 1000; // characters of a text whose attention is drawn
const END = "</s>"; // the token that ends a sentence

const $ = (id) => document.getElementById(id);
const client = crypto.getRandomValues(new Uint32Array(2)).join("");
const source = $("source");
const settings = { beam: $("beam"), nbest: $("nbest"), doubt: $("doubt") };
const number = ({ value, min, max }) => Math.min(max, Math.max(min, Math.round(value) || 1));
let models = [];
let text = "";
let speaking = 0; // the timer of what a screen reader hears

// --- asking the server

/** Wait; an abort ends the wait with an error. */
function pause(ms, signal) {
	return new Promise((resolve, reject) => {
		signal.throwIfAborted();
		const timer = setTimeout(resolve, ms);
		on(signal, "abort", () => { clearTimeout(timer); reject(signal.reason); });
	});
}

/** Show a problem at a place of the page, and the button that mends it; without words, hide both. */
function report(place, words, label, mend) {
	place.hidden = !words;
	const [span, button] = place.children;
	span.textContent = words ?? "";
	button.hidden = !label;
	button.textContent = label ?? "";
	button.onclick = mend;
}

/** Ask the server until it answers; say at a place of the page what goes wrong meanwhile. */
async function ask(path, body, signal, place) {
	for (let wait = 1; ; wait = Math.min(2 * wait, 16)) {
		let words = "The server does not answer.";
		let refused = false;
		try {
			const reply = await fetch(path, {
				signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]),
				headers: { "Content-Type": "application/json", ...($("key").value && { Authorization: `Bearer ${$("key").value}` }) },
				...(body && { method: "POST", body: JSON.stringify(body) }),
			});
			const answer = await reply.json().catch(() => null);
			if (reply.ok && answer) {
				report(place);
				return answer;
			}
			words = answer?.error ?? `The server fails (${reply.status}).`;
			refused = reply.status < 500 && reply.status !== 409 && reply.status !== 429;
			wait = Number(reply.headers.get("Retry-After")) || wait;
		} catch {
			signal.throwIfAborted(); // otherwise the network failed
		}
		if (refused) {
			if (/\bkey\b/i.test(words)) $("key-field").hidden = false;
			throw new Error(words); // to ask again would not help
		}

		// wait, or let the reader be quicker
		await new Promise((resolve, reject) => {
			report(place, `${words} Trying again in ${wait} s.`, "Try now", resolve);
			pause(1000 * wait, signal).then(resolve, reject);
		});
	}
}

// --- one translation

/** A translation by one model, and what belongs to it on the page. */
class Output {
	constructor(series) {
		const node = $("output").content.firstElementChild.cloneNode(true);
		const [name, line, copy, problem, unsure, note, others] =
			["h2", ".text", ".copy", ".problem", ".unsure", ".kept", ".others"].map((selector) => node.querySelector(selector));
		Object.assign(this, { series, node, name, line, copy, problem, unsure, note, others });
		Object.assign(this, { model: null, kept: [], found: null, parts: [], words: [], fresh: false });
		this.stop = new AbortController();
		on(copy, "click", () => this.copyText());
		on(note.lastElementChild, "click", () => this.release());
		listenToWords(this);
	}

	use(model) {
		if (this.model !== model) Object.assign(this, { model, kept: [], found: null });
		this.line.lang = this.others.lang = model.target;
		this.line.ariaLabel = `${model.target_name}, word by word`;
	}

	/** Translate the text: at once with a greedy search, and at rest with the beam and attention. */
	async follow({ delay = 0, quick = false, prefix = "", focus = false } = {}) {
		this.stop.abort();
		this.stop = new AbortController();
		const { signal } = this.stop;
		this.fresh = false;
		try {
			await pause(delay, signal);
			if (!text.trim()) return this.clear();
			this.node.classList.add("stale");
			if (quick) {
				await this.translate({ beam: 1 }, signal);
				await pause(REST, signal);
			}
			const [beam, nbest] = [number(settings.beam), number(settings.nbest)];
			const options = { beam: Math.max(beam, nbest), nbest, attention: text.length <= LONGEST };
			await this.translate(prefix ? { ...options, prefix } : options, signal);
			if (prefix) this.kept = this.found.tokens.slice(0, this.parts.findLast(({ at }) => at >= 0 && at < prefix.length)?.end ?? 0);
			this.fresh = true;
			settle();
			if (focus) this.words[this.parts.findLastIndex((part, i) => part.start < this.kept.length && this.words[i])]?.focus();
		} catch (error) {
			if (signal.aborted) return; // something newer is under way
			report(this.problem, error.message, "Try again", () => this.follow());
		}
	}

	async translate(options, signal) {
		const kept = this.kept.length ? { prefix_tokens: this.kept } : {};
		const body = { text, model: this.model.name, client: `${client}-${this.series}`, ...kept, ...options };
		[this.found] = (await ask("v1/translate", body, signal, this.problem)).translations;
		this.node.classList.remove("stale");
		write();
	}

	clear() {
		Object.assign(this, { found: null, kept: [] });
		this.node.classList.remove("stale");
		report(this.problem);
		settle();
	}

	/** Write the translation: each word a button, with a mark where the model is unsure or the reader chose. */
	write() {
		const { found } = this;
		this.unit = picture.unit;
		this.parts = found ? partsOf(found, this.unit) : [];
		const nodes = [];
		let at = 0;
		this.words = this.parts.map((part) => {
			part.at = part.text ? found.text.indexOf(part.text, at) : -1;
			if (part.at < 0) return null; // `</s>`, or bytes that are no character of their own
			// no <button>: its text could not be selected, nor its order be that of right-to-left text
			const word = make("span", { className: "word", role: "button", ariaHasPopup: "dialog", tabIndex: -1 }, part.text);
			word.classList.toggle("doubt", part.likely < settings.doubt.value / 100);
			word.classList.toggle("keep", part.start < this.kept.length);
			nodes.push(found.text.slice(at, part.at), word);
			at = part.at + part.text.length;
			return word;
		});
		this.line.replaceChildren(...nodes, found?.text.slice(at) ?? "");
		const first = this.words.find(Boolean);
		if (first) first.tabIndex = 0;

		this.copy.hidden = !found?.text;
		this.copy.textContent = "Copy";
		this.note.hidden = !this.kept.length;
		this.unsure.hidden = !found?.unsure;
		this.unsure.textContent = `Unsure: ${found?.unsure}`;
		this.others.hidden = !found?.alternatives?.length;
		this.others.replaceChildren(...(found?.alternatives ?? []).map((other) => {
			const button = make("button", { type: "button", className: "other", dir: "auto" }, other.text);
			on(button, "click", () => this.keep([], other.text));
			return make("li", {}, button);
		}));
	}

	/** Keep the beginning of the translation, as tokens or as text, and translate the rest anew. */
	keep(tokens, prefix = "") {
		this.kept = tokens;
		this.follow({ prefix, focus: true });
	}

	release() {
		this.kept = [];
		this.follow();
		source.focus();
	}

	async copyText() {
		if (navigator.clipboard) await navigator.clipboard.writeText(this.found.text);
		else { // a page that comes neither over https nor from this machine
			getSelection().selectAllChildren(this.line);
			document.execCommand("copy");
		}
		this.copy.textContent = "Copied";
	}
}

/** Whether a view is of the translation, not of the source alone. */
const isDecoder = (view) => view?.rows === "translation";

/** Return the words or tokens of a translation as {text, start, end, likely}; start and end count tokens. */
function partsOf({ tokens, token_scores: scores, attention }, unit) {
	const view = attention?.find(isDecoder);
	const isSpaced = tokens.some((token) => token.startsWith("▁"));
	const begins = (token, i) => !isSpaced || token.startsWith("▁") || [token, tokens[i - 1]].includes(END);
	const parts = [];
	tokens.forEach((token, i) => {
		const isNew = view ? view.row_words[i] !== view.row_words[i - 1] : begins(token, i);
		if (isNew || unit === "tokens" || !i) parts.push({ text: "", start: i, score: 0 });
		const part = parts.at(-1);
		Object.assign(part, { text: part.text + token, end: i + 1, score: part.score + (scores?.[i] ?? 0) });
	});
	const words = unit === "words" ? view?.maps.words.rows : null;
	return parts.map(({ text: spelled, start, end, score }, i) => ({ start, end, likely: Math.exp(score),
		text: spelled === END ? "" : words?.[i] ?? spelled.replaceAll("▁", " ").trim() }));
}

/** Let the reader move among the words of a translation, point at them and open the list of other words. */
function listenToWords(output) {
	const { line } = output;
	const indexOf = (event) => output.words.indexOf(event.target);
	const point = (index) => {
		if (!output.fresh || !isDecoder(picture.view)) return; // who looks at self-attention goes on looking
		const own = picture.views.find((view) => view.output === output && isDecoder(view));
		if (index >= 0 && own !== picture.view) picture.choose({ view: own.name });
		if (index >= 0) picture.lead({ rows: [index], columns: null });
		else picture.point(null);
	};
	on(line, "pointerover", (event) => { if (event.pointerType === "mouse") point(indexOf(event)); });
	on(line, "pointerleave", () => point(-1));
	on(line, "focusout", () => point(-1));
	on(line, "focusin", (event) => {
		rove(output.words.filter(Boolean), event.target);
		if (event.target.matches(":focus-visible")) point(indexOf(event));
	});
	on(line, "click", (event) => { if (indexOf(event) >= 0) openChoices(output, indexOf(event)); });
	on(line, "keydown", (event) => {
		if (isChord(event)) return;
		const words = output.words.filter(Boolean);
		const at = words.indexOf(event.target);
		const forward = getComputedStyle(line).direction === "rtl" ? -1 : 1;
		const next = { ArrowRight: words[at + forward], ArrowLeft: words[at - forward], Home: words[0], End: words.at(-1) };
		if (event.key === "Enter" || event.key === " ") openChoices(output, indexOf(event));
		else if (next[event.key]) next[event.key].focus();
		else return;
		event.preventDefault();
	});
}

// --- other words at one step

const choices = $("choices");
let choosing = new AbortController();

/** Open the list of the likeliest tokens at a word of a translation; who chooses one keeps all before it. */
async function openChoices(output, index) {
	choosing.abort();
	choosing = new AbortController();
	const { signal } = choosing;
	const [word, { start, at }, { tokens, text: whole }] = [output.words[index], output.parts[index], output.found];
	const before = tokens.slice(0, start);
	const body = { text, model: output.model.name };

	// the empty list, at the word
	const list = $("list");
	list.replaceChildren();
	$("rest").textContent = "";
	$("own").value = "";
	$("own").lang = output.model.target;
	$("choices-own").onsubmit = (event) => {
		event.preventDefault();
		choices.hidePopover();
		if ($("own").value.trim()) output.keep([], whole.slice(0, at) + $("own").value.trimStart());
	};
	choices.showPopover();
	word.ariaExpanded = "true";
	choices.ontoggle = ({ newState }) => {
		if (newState === "closed") { choosing.abort(); word.ariaExpanded = "false"; }
	};
	place(word);

	// its options, each with what would follow
	let other = new AbortController();
	const preview = async (token) => {
		other.abort();
		other = new AbortController();
		const options = { ...body, prefix_tokens: [...before, token], beam: 1, client: `${client}-preview` };
		const either = AbortSignal.any([signal, other.signal]);
		const { translations } = await ask("v1/translate", options, either, output.problem);
		$("rest").textContent = translations[0].text;
	};
	let next;
	try {
		({ next } = await ask("v1/next", { ...body, tokens: before, count: 5 }, signal, output.problem));
	} catch (error) {
		if (signal.aborted) return;
		choices.hidePopover();
		return report(output.problem, error.message);
	}
	const options = next.map(({ token, text: shown, probability }) => {
		const bar = make("i", { ariaHidden: "true" });
		bar.style.setProperty("--w", probability);
		const option = make("div", { role: "option", tabIndex: -1, ariaSelected: String(token === tokens[start]) },
			make("span", { lang: output.model.target, dir: "auto" }, token === END ? "end of the sentence" : shown.trim() || token),
			bar, make("span", { className: "percent" }, `${percent(probability)} %`));
		option.dataset.token = token;
		on(option, "click", () => { choices.hidePopover(); output.keep([...before, token]); });
		on(option, "pointerenter", () => option.focus());
		on(option, "focus", () => { rove(options, option); preview(token).catch(() => {}); });
		return option;
	});
	list.replaceChildren(...options);
	list.onkeydown = (event) => {
		const i = options.indexOf(document.activeElement);
		const to = { ArrowDown: options[i + 1], ArrowUp: options[i - 1], Home: options[0], End: options.at(-1) }[event.key];
		if (event.key === "Enter" || event.key === " ") options[i].click();
		else if (to) to.focus();
		else return;
		event.preventDefault();
	};
	place(word);
	(options.find((option) => option.ariaSelected === "true") ?? options[0])?.focus({ preventScroll: true });
}

/** Put the list under a word, or over it where there is more room. */
function place(word) {
	const [box, { width, height }] = [word.getBoundingClientRect(), choices.getBoundingClientRect()];
	const isBelow = box.bottom + 6 + height < innerHeight || box.top < height;
	const left = Math.max(8, Math.min(box.left - 8, document.documentElement.clientWidth - width - 8));
	choices.style.left = `${left + scrollX}px`;
	choices.style.top = `${(isBelow ? box.bottom + 6 : box.top - height - 6) + scrollY}px`;
}

on(choices, "focusout", ({ relatedTarget }) => { if (relatedTarget && !choices.contains(relatedTarget)) choices.hidePopover(); });

// --- the page as a whole

const outputs = [new Output(0), new Output(1)];
const active = () => outputs.filter((output) => output.node.isConnected);
const picture = new Picture({
	home: $("picture"),
	controls: $("controls"),
	whenPointed: (spot) => {
		for (const output of active()) {
			const isShown = output === picture.view.output && isDecoder(picture.view);
			output.words.forEach((word, i) => word?.classList.toggle("lit", isShown && (spot.rows?.includes(i) ?? false)));
		}
	},
	whenChosen: () => {
		if (outputs[0].unit !== picture.unit) write();
		remember();
	},
});

/** Write the translations, and mark where two into one language differ. */
function write() {
	for (const output of active()) output.write();
	const [a, b] = active();
	if (!a.found || !b?.found || a.model.target !== b.model.target) return;
	const [left, right] = [a, b].map((output) => output.words.filter(Boolean));

	// the length of the longest common subsequence of what follows each pair of words
	const longest = Array.from({ length: left.length + 1 }, () => new Uint16Array(right.length + 1));
	const isSame = (i, j) => left[i]?.textContent === right[j]?.textContent;
	for (let i = left.length - 1; i >= 0; i--) {
		for (let j = right.length - 1; j >= 0; j--) {
			longest[i][j] = isSame(i, j) ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
		}
	}
	for (let [i, j] = [0, 0]; i < left.length || j < right.length;) {
		if (isSame(i, j)) { i++; j++; }
		else if (j >= right.length || (i < left.length && longest[i + 1][j] >= longest[i][j + 1])) left[i++].classList.add("differs");
		else right[j++].classList.add("differs");
	}
}

/** Return the views of the translations at rest, with their models' names where there are two. */
function viewsOf() {
	return active().filter(({ fresh }) => fresh).flatMap((output) => (output.found.attention ?? []).map((view) => {
		const { model: { name, source: from, target: to }, found, series } = output;
		const maps = Object.entries(view.maps).map(([unit, map]) => [unit, isDecoder(view)
			? { ...map, likely: partsOf(found, unit).map((part) => part.likely) } : map]);
		return { ...view, output, series, maps: Object.fromEntries(maps),
			name: active().length > 1 ? `${name}: ${view.name}` : view.name,
			languages: { rows: isDecoder(view) ? to : from, columns: from } };
	}));
}

/** Bring the page in order when a translation has come to rest. */
function settle() {
	const [isEmpty, isPartial, views] = [!text.trim(), active().some(({ fresh }) => !fresh), viewsOf()];
	$("start").hidden = !isEmpty;
	$("attention").hidden = !views.length;
	$("attention").classList.toggle("stale", isPartial);
	if (views.length) picture.show(views);
	write();
	$("no-attention").hidden = isPartial || views.length > 0;
	$("no-attention").textContent = text.length > LONGEST
		? `Attention is drawn for texts of at most ${LONGEST} characters.` : "There is no attention to show.";
	remember();
	clearTimeout(speaking);
	speaking = setTimeout(() => {
		$("live").replaceChildren(...active().filter(({ found }) => found).map(({ model, found }) =>
			make("p", { lang: model.target }, found.text)));
	}, QUIET);
}

/** Translate what stands in the field. */
function read(options) {
	if (source.value !== text) for (const output of outputs) output.kept = [];
	text = source.value;
	$("clear").hidden = !text;
	$("attention").classList.add("stale");
	clearTimeout(speaking);
	fit();
	for (const output of active()) output.follow(options);
}

/** Write a text into the field, because the reader asked for it. */
function fill(words) {
	source.value = words;
	source.focus();
	read({ quick: true });
}

/** Make the field as high as its text. */
function fit() {
	source.style.height = "auto";
	source.style.height = `${source.scrollHeight}px`;
}

// --- the address

/** Keep in the address what is on the page. */
function remember() {
	const now = new URLSearchParams();
	const [first, second] = outputs;
	if (models.length > 1) now.set("model", first.model.name);
	if (second.node.isConnected) now.set("second", second.model.name);
	for (const [name, input] of Object.entries(settings)) {
		if (input.value !== (name === "beam" ? String(first.model.beam) : input.defaultValue)) now.set(name, input.value);
	}
	for (const [name, choice] of Object.entries(picture.chosen)) if (choice) now.set(name, choice);
	outputs.forEach(({ kept }, i) => kept.forEach((token) => now.append(`keep${i + 1}`, token)));
	now.set("text", text);
	history.replaceState(null, "", text.trim() ? `#${now}` : location.pathname + location.search);
}

/** Bring the page to what the address says. */
function recall() {
	const then = new URLSearchParams(location.hash.slice(1));
	const model = models.find(({ name }) => name === then.get("model")) ?? models[0];
	useModel(model, then.get("second"));
	for (const [name, input] of Object.entries(settings)) {
		input.value = then.get(name) ?? (name === "beam" ? model.beam : input.defaultValue);
		if (name !== "doubt") input.value = number(input);
	}
	picture.chosen = { view: then.get("view"), head: then.get("head"), unit: then.get("unit") };
	showDoubt();
	text = source.value = then.get("text") ?? source.value;
	outputs.forEach((output, i) => { output.kept = then.getAll(`keep${i + 1}`); });
	read();
}

/** Translate with a model, and offer those that can stand beside it. */
function useModel(model, second = $("second").value) {
	const beside = models.filter((each) => each !== model && each.source === model.source);
	const other = beside.find(({ name }) => name === second);
	$("model").value = model.name;
	$("second").replaceChildren(...["", ...beside.map(({ name }) => name)].map((name) =>
		make("option", { value: name }, name || "none")));
	$("second").value = other?.name ?? "";
	$("second-field").hidden = !beside.length;

	// the translations
	const shown = other ? [model, other] : [model];
	shown.forEach((each, i) => {
		outputs[i].use(each);
		outputs[i].name.textContent = other ? `${each.target_name} · ${each.name}` : each.target_name;
	});
	$("outputs").replaceChildren(...shown.map((_, i) => outputs[i].node));
	$("outputs").classList.toggle("two", Boolean(other));

	// the field and the sentences to try, in the language of the model
	source.lang = model.source;
	$("source-name").textContent = model.source_name;
	$("start-name").hidden = !model.examples.length;
	$("examples").replaceChildren(...model.examples.map((words) => {
		const button = make("button", { type: "button", className: "example", lang: model.source, dir: "auto" }, words);
		on(button, "click", () => fill(words));
		return make("li", {}, button);
	}));
}

function showDoubt() {
	$("doubt-value").textContent = `${settings.doubt.value} %`;
}

// --- what the reader does

/** Whether an input method composes letters that are not yet words, as in Japanese and Chinese. */
function isUnfinished(event) {
	return event.isComposing && (/^(ja|zh)\b/.test(source.lang)
		|| /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Bopomofo}]/u.test(event.data ?? ""));
}

on(source, "input", (event) => {
	if (isUnfinished(event)) fit();
	else read({ delay: event.isComposing ? COMPOSING : DEBOUNCE, quick: true });
});
on(source, "compositionend", () => { if (source.value !== text) read({ delay: DEBOUNCE, quick: true }); });
on(window, "resize", fit);
on(window, "hashchange", recall);
on($("clear"), "click", () => fill(""));
on($("drawer"), "submit", (event) => event.preventDefault());
on($("options"), "click", () => {
	$("drawer").hidden = !$("drawer").hidden;
	$("options").ariaExpanded = String(!$("drawer").hidden);
});
on($("key"), "change", () => (models.length ? read() : start()));
on($("model"), "change", () => {
	useModel(models.find(({ name }) => name === $("model").value));
	settings.beam.value = outputs[0].model.beam;
	read();
});
on($("second"), "change", () => { useModel(outputs[0].model); read(); });
for (const input of [settings.beam, settings.nbest]) on(input, "change", () => { input.value = number(input); read(); });
on(settings.doubt, "input", () => { showDoubt(); write(); remember(); });
on(document, "keydown", (event) => {
	if (event.key !== "Escape" || event.isComposing || choices.matches(":popover-open")) return;
	if (!picture.dismiss()) for (const output of active()) if (output.kept.length) output.release();
});
on($("save-svg"), "click", () => download("attention.svg", "image/svg+xml", picture.toSvg()));
on($("save-page"), "click", savePage);

/** Save the picture as one file, the page that `seq2seq attention --output x.html` writes. */
async function savePage() {
	const files = ["attention.html", "page.css", "attention.js"];
	const [template, style, script] = await Promise.all(files.map(async (name) => (await fetch(`page/${name}`)).text()));
	const plain = (words) => words.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
	const data = JSON.stringify(picture.views.map(({ output, ...view }) => view))
		.replaceAll("<", "\\u003c"); // so that no text can end the script
	const { found, model } = picture.view.output;
	const fields = { style, script, data, text: plain(text), translation: plain(found.text),
		source: plain(model.source), target: plain(model.target) };
	download("attention.html", "text/html", template.replace(/\{\{(\w+)\}\}/g, (_, name) => fields[name]));
}

/** Learn which models there are, and begin. */
async function start() {
	try {
		({ models } = await ask("v1/models", null, new AbortController().signal, $("problem")));
	} catch (error) {
		return report($("problem"), error.message, "Try again", start);
	}
	const pairs = models.map((model) => `${model.source_name} → ${model.target_name}`);
	$("model").replaceChildren(...models.map(({ name }, i) => make("option", { value: name },
		pairs.indexOf(pairs[i]) === pairs.lastIndexOf(pairs[i]) ? pairs[i] : `${pairs[i]} · ${name}`)));
	$("model-field").hidden = models.length < 2;
	recall();
}

start();
