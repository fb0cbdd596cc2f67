/*
 * The page of `seq2seq serve`: a text and its translation, word by word; other words at each step; a second model; and
 * the picture of attention. It speaks to the server with POST v1/translate and v1/next, and GET v1/models.
 *
 * The address keeps what the reader chose, so that a link shows the same page.
 */

import { Picture, download, make, percent, rove } from "./attention.js";

const DEBOUNCE = 80; // ms from a key to the first request, a greedy search
const COMPOSING = 250; // ms instead, while an input method composes: its letters still change
const REST = 400; // ms of rest before the search with the beam, and attention
const QUIET = 1000; // ms of rest before a screen reader hears the translation
const PATIENCE = 60_000; // ms before a server that says nothing counts as gone
const LONGEST_DRAWN = 1000; // characters of a text whose attention is drawn
const END = "</s>"; // the token that ends a sentence

const element = (id) => document.getElementById(id);
const client = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16)).join("");
const source = element("source");
const settings = { beam: element("beam"), nbest: element("nbest"), doubt: element("doubt"), second: element("second") };
const number = (input) => Math.min(Number(input.max), Math.max(Number(input.min), Math.round(Number(input.value)) || 1));
let models = [];
let text = "";

// ------------------------------------------------------------------------------------------- asking the server

/** Wait; an abort ends the wait with an error. */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    const stop = () => { clearTimeout(timer); reject(signal.reason); };
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}

/** Show a problem and the button that mends it; without words, hide both. */
function report(place, words, label, mend) {
  place.hidden = !words;
  if (!words) return;
  const [span, button] = place.children;
  if (span.textContent !== words) span.textContent = words;
  button.hidden = !label;
  button.textContent = label ?? "";
  button.onclick = mend;
}

/** Ask the server until it answers; say at a place of the page what goes wrong meanwhile. */
async function ask(path, body, signal, place) {
  for (let wait = 1; ; wait = Math.min(2 * wait, 16)) {
    let words = "The server does not answer.";
    try {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]);
      const reply = await fetch(path, body
        ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal: limit }
        : { signal: limit });
      const answer = await reply.json().catch(() => null);
      if (reply.ok && answer) {
        report(place, null);
        return answer;
      }
      words = answer?.error ?? `The server fails (${reply.status}).`;
      if (reply.status < 500 && ![409, 429].includes(reply.status)) throw new Error(words);
      wait = Number(reply.headers.get("Retry-After")) || wait;
    } catch (error) {
      signal.throwIfAborted();
      if (error.message === words) throw error; // to ask again would not help
    }

    // wait, or let the reader be quicker
    const { promise, resolve } = Promise.withResolvers();
    report(place, `${words} Trying again in ${wait} s.`, "Try now", resolve);
    await Promise.race([pause(1000 * wait, signal), promise]);
  }
}

// ----------------------------------------------------------------------------------------------- one translation

/** A translation by one model, and what belongs to it on the page. */
class Output {
  constructor(series) {
    const node = element("output").content.firstElementChild.cloneNode(true);
    const find = (selector) => node.querySelector(selector);
    Object.assign(this, { series, node, model: null, kept: [], found: null, parts: [], words: [], fresh: false });
    Object.assign(this, { name: find("h2"), line: find(".text"), copy: find(".copy"), problem: find(".problem"),
      unsure: find(".unsure"), note: find(".kept"), others: find(".others"), stop: new AbortController() });
    this.copy.addEventListener("click", () => this.copyText());
    this.note.querySelector("button").addEventListener("click", () => this.release());
    listenToWords(this);
  }

  get language() { return this.model.target_name || this.model.target; }

  use(model) {
    if (this.model !== model) Object.assign(this, { model, kept: [], found: null });
    this.name.textContent = this.language;
    this.line.lang = this.others.lang = model.target;
    this.line.ariaLabel = `Translation into ${this.language}, word by word`;
  }

  /** Translate the text: at once with a greedy search, and at rest with the beam and attention. */
  async follow({ delay = 0, quick = true, focus = false } = {}) {
    this.stop.abort();
    this.stop = new AbortController();
    const { signal } = this.stop;
    this.fresh = false;
    try {
      await pause(delay, signal);
      if (!text.trim()) return this.clear();
      this.node.ariaBusy = "true";
      if (quick) {
        await this.translate({ beam: 1 }, signal);
        await pause(REST, signal);
      }
      const [beam, nbest] = [number(settings.beam), number(settings.nbest)];
      await this.translate({ beam: Math.max(beam, nbest), nbest, attention: text.length <= LONGEST_DRAWN }, signal);
      this.fresh = true;
      settle();
      if (focus) this.focusKept();
    } catch (error) {
      if (signal.aborted) return; // something newer is under way
      report(this.problem, error.message, "Try again", () => this.follow());
      this.node.ariaBusy = "false";
    }
  }

  async translate(options, signal) {
    const kept = this.kept.length ? { prefix_tokens: this.kept } : {};
    const body = { text, model: this.model.name, client: `${client}-${this.series}`, ...kept, ...options };
    const answer = await ask("v1/translate", body, signal, this.problem);
    this.found = answer.translations[0];
    this.node.ariaBusy = "false";
    write();
  }

  clear() {
    Object.assign(this, { found: null, kept: [] });
    this.node.ariaBusy = "false";
    report(this.problem, null);
    settle();
  }

  /** Write the translation: each word a button, with a mark where the model is unsure or the reader chose. */
  write() {
    const { found } = this;
    this.unit = picture.unit;
    this.parts = found ? partsOf(found, this.unit) : [];
    this.words = [];
    const nodes = [];
    let at = 0;
    for (const part of this.parts) {
      const start = part.text ? found.text.indexOf(part.text, at) : -1;
      if (start < 0) { this.words.push(null); continue; } // `</s>`, or bytes that are no character of their own
      const word = make("span", { className: "word", role: "button", ariaHasPopup: "listbox", tabIndex: -1 }, part.text);
      word.classList.toggle("doubt", part.likely < Number(settings.doubt.value) / 100);
      word.classList.toggle("keep", part.start < this.kept.length);
      if (start > at) nodes.push(found.text.slice(at, start));
      nodes.push(word);
      this.words.push(word);
      at = start + part.text.length;
    }
    if (found && at < found.text.length) nodes.push(found.text.slice(at));
    this.line.replaceChildren(...nodes);
    const first = this.words.find(Boolean);
    if (first) first.tabIndex = 0;

    // what else there is to say
    this.copy.hidden = !found?.text;
    this.note.hidden = !this.kept.length;
    this.unsure.hidden = !found?.unsure;
    this.unsure.textContent = found?.unsure ? `Unsure: ${found.unsure}` : "";
    this.others.hidden = !found?.alternatives?.length;
    this.others.replaceChildren(...(found?.alternatives ?? []).map((other) => make("li", { dir: "auto" }, other.text)));
  }

  /** Keep the beginning of the translation up to a token, and translate the rest anew. */
  keep(tokens) {
    this.kept = tokens;
    this.follow({ quick: false, focus: true });
  }

  release() {
    this.kept = [];
    this.follow({ quick: false });
    source.focus();
  }

  focusKept() {
    const last = this.parts.findLastIndex((part, i) => part.start < this.kept.length && this.words[i]);
    this.words[last]?.focus();
  }

  async copyText() {
    if (navigator.clipboard) await navigator.clipboard.writeText(this.found.text);
    else { // a page that does not come over https or from this machine
      getSelection().selectAllChildren(this.line);
      document.execCommand("copy");
    }
    this.copy.textContent = "Copied";
    setTimeout(() => { this.copy.textContent = "Copy"; }, 1500);
  }
}

/** Whether a view is of the translation, not of the source alone. */
const isDecoder = (view) => view?.rows === "translation";

/** Return the words or tokens of a translation as {text, start, end, likely}; start and end count tokens. */
function partsOf({ tokens, token_scores: scores, attention }, unit) {
  const view = attention?.find(isDecoder);
  const rows = unit === "words" ? view?.maps.words.rows : null;
  const starts = (token, i) => token.startsWith("▁") || token === END || tokens[i - 1] === END;
  const spaced = tokens.some((token) => token.startsWith("▁"));
  const parts = [];
  let word = -1;
  tokens.forEach((token, i) => {
    const isNew = unit === "tokens" || i === 0 || (view ? view.row_words[i] !== view.row_words[i - 1]
      : !spaced || starts(token, i));
    if (isNew) parts.push({ text: "", start: i, end: i, score: 0 });
    word = parts.length - 1;
    parts[word].text += token;
    parts[word].end = i + 1;
    parts[word].score += scores?.[i] ?? 0;
  });
  return parts.map(({ text: spelled, start, end, score }, i) => ({
    text: spelled === END ? "" : rows?.[i] ?? spelled.replaceAll("▁", " ").trim(), start, end, likely: Math.exp(score) }));
}

/** Let the reader move among the words of a translation, point at them and open the list of other words. */
function listenToWords(output) {
  const { line } = output;
  const indexOf = (event) => output.words.indexOf(event.target.closest?.(".word"));
  const point = (i) => {
    const shown = picture.view;
    if (!output.fresh || !isDecoder(shown)) return; // who looks at self-attention goes on looking
    const own = picture.views.find((view) => view.output === output && isDecoder(view));
    if (i >= 0 && own && own !== shown) picture.choose({ view: own.name });
    if (i >= 0 || shown.output === output) picture.point(i < 0 ? null : { rows: [i], columns: null });
  };
  line.addEventListener("pointerover", (event) => { if (event.pointerType === "mouse") point(indexOf(event)); });
  line.addEventListener("pointerleave", () => point(-1));
  line.addEventListener("focusin", (event) => {
    rove(output.words.filter(Boolean), event.target);
    if (event.target.matches(":focus-visible")) point(indexOf(event));
  });
  line.addEventListener("focusout", () => point(-1));
  line.addEventListener("click", (event) => { if (indexOf(event) >= 0) openChoices(output, indexOf(event)); });
  line.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return; // the browser's own keys
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

// --------------------------------------------------------------------------------------- other words at one step

const choices = element("choices");
let choosing = new AbortController();
choices.addEventListener("toggle", ({ newState }) => {
  if (newState === "open") return;
  choosing.abort();
  for (const word of document.querySelectorAll(".word[aria-expanded='true']")) word.ariaExpanded = "false";
});

/** Open the list of the likeliest tokens at a word of a translation; who chooses one keeps all before it. */
async function openChoices(output, index) {
  choosing.abort();
  choosing = new AbortController();
  const { signal } = choosing;
  const [word, part, { tokens }] = [output.words[index], output.parts[index], output.found];
  const before = tokens.slice(0, part.start);
  const list = element("choices-list");
  const options = [];
  element("choices-name").textContent = before.length ? "Other ways to go on here" : "Other ways to begin";
  element("choices-rest").textContent = "";
  list.replaceChildren();
  choices.showPopover();
  word.ariaExpanded = "true";
  place(word);

  // the list
  let answer;
  try {
    const body = { text, model: output.model.name, tokens: before, count: 5 };
    answer = await ask("v1/next", body, signal, output.problem);
  } catch (error) {
    if (!signal.aborted) { choices.hidePopover(); report(output.problem, error.message); }
    return;
  }
  const preview = async (token) => {
    const body = { text, model: output.model.name, prefix_tokens: [...before, token], beam: 1, client: `${client}-preview` };
    const { translations } = await ask("v1/translate", body, signal, output.problem);
    element("choices-rest").textContent = translations[0].text;
  };
  for (const { token, text: shown, probability } of answer.next) {
    const bar = make("i", { ariaHidden: "true" });
    bar.style.setProperty("--w", probability);
    const option = make("div", { role: "option", tabIndex: -1, ariaSelected: String(token === tokens[part.start]) },
      make("span", { lang: output.model.target, dir: "auto" }, token === END ? "end of the sentence" : shown.trim() || token),
      bar, make("span", { className: "percent" }, `${percent(probability)} %`));
    option.addEventListener("click", () => { choices.hidePopover(); output.keep([...before, token]); });
    option.addEventListener("pointerenter", () => option.focus());
    option.addEventListener("focus", () => preview(token).catch(() => {}));
    options.push(option);
  }
  list.replaceChildren(...options);
  list.onkeydown = (event) => {
    const at = options.indexOf(document.activeElement);
    const next = { ArrowDown: options[at + 1], ArrowUp: options[at - 1], Home: options[0], End: options.at(-1) }[event.key];
    if (event.key === "Enter" || event.key === " ") document.activeElement.click();
    else if (event.key === "Tab") choices.hidePopover();
    else if (next) next.focus();
    else return;
    event.preventDefault();
  };
  place(word);
  (options.find((option) => option.ariaSelected === "true") ?? options[0])?.focus({ preventScroll: true });
}

/** Put the list under a word, or over it where there is more room. */
function place(word) {
  const [box, size] = [word.getBoundingClientRect(), choices.getBoundingClientRect()];
  const below = box.bottom + 6 + size.height < innerHeight || box.top < size.height;
  const left = Math.max(8, Math.min(box.left - 8, document.documentElement.clientWidth - size.width - 8));
  choices.style.left = `${left + scrollX}px`;
  choices.style.top = `${(below ? box.bottom + 6 : box.top - size.height - 6) + scrollY}px`;
}

// ------------------------------------------------------------------------------------- the page as a whole

const outputs = [new Output(0), new Output(1)];
const active = () => outputs.filter((output) => output.node.isConnected);
const picture = new Picture({
  home: element("picture"),
  controls: element("controls"),
  whenPointed: (spot, view) => {
    for (const output of active()) {
      const lit = output === view.output && isDecoder(view) ? spot.rows ?? [] : [];
      output.words.forEach((word, i) => word?.classList.toggle("lit", lit.includes(i)));
    }
  },
  whenChosen: () => {
    if (outputs[0].unit !== picture.unit) write();
    remember();
  },
});

/** Write the translations, and mark where they differ. */
function write() {
  for (const output of active()) output.write();
  compare();
}

/** Mark the words in which two translations into one language differ. */
function compare() {
  const [a, b] = active();
  if (!a?.found || !b?.found || a.model.target !== b.model.target) return;
  const [left, right] = [a, b].map((output) => output.words.map((word, i) => [word, i]).filter(([word]) => word));

  // the length of the longest common subsequence of what follows each pair of words
  const longest = Array.from({ length: left.length + 1 }, () => new Uint16Array(right.length + 1));
  const equal = (i, j) => left[i][0].textContent === right[j][0].textContent;
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      longest[i][j] = equal(i, j) ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
    }
  }
  let [i, j] = [0, 0];
  while (i < left.length || j < right.length) {
    if (i < left.length && j < right.length && equal(i, j)) { i++; j++; }
    else if (j >= right.length || (i < left.length && longest[i + 1][j] >= longest[i][j + 1])) left[i++][0].classList.add("differs");
    else right[j++][0].classList.add("differs");
  }
}

/** Return the views of all translations, with their models' names where there are two. */
function viewsOf(shown) {
  return shown.flatMap((output) => (output.found?.attention ?? []).map((view) => {
    const { model: { name, source: from, target: to }, found, series } = output;
    const likely = (unit) => (isDecoder(view) && found.token_scores?.length
      ? { likely: partsOf(found, unit).map((part) => part.likely) } : {});
    const maps = Object.entries(view.maps).map(([unit, map]) => [unit, { ...map, ...likely(unit) }]);
    return { ...view, output, series, maps: Object.fromEntries(maps),
      name: shown.length > 1 ? `${name}: ${view.name}` : view.name,
      languages: { rows: isDecoder(view) ? to : from, columns: from } };
  }));
}

/** Bring the page in order when a translation has come to rest. */
function settle() {
  const isEmpty = !text.trim();
  const shown = active();
  const views = isEmpty ? [] : viewsOf(shown.filter((output) => output.fresh));
  element("start").hidden = !isEmpty;
  element("attention").hidden = !views.length;
  if (views.length) picture.show(views);
  write();
  element("attention").classList.remove("stale");
  const none = element("no-attention");
  none.hidden = isEmpty || views.length > 0 || shown.some((output) => !output.fresh);
  none.textContent = text.length > LONGEST_DRAWN
    ? `Attention is drawn for texts of at most ${LONGEST_DRAWN} characters.` : "This model has no attention to show.";
  remember();
  speak();
}

let speaking = 0;

/** Tell a screen reader the translation after a second of rest. */
function speak() {
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    element("live").replaceChildren(...active().filter(({ found }) => found).map((output) =>
      make("p", { lang: output.model.target }, output.found.text)));
  }, QUIET);
}

/** Translate what stands in the field. */
function read(options) {
  const changed = source.value !== text;
  text = source.value;
  if (changed) for (const output of outputs) output.kept = [];
  element("clear").hidden = !text;
  element("attention").classList.add("stale");
  fit();
  clearTimeout(speaking);
  for (const output of active()) output.follow(options);
}

/** Write a text into the field, because the reader asked for it. */
function fill(words) {
  source.value = words;
  source.focus();
  read();
}

/** Make the field as high as its text. */
function fit() {
  source.style.height = "auto";
  source.style.height = `${source.scrollHeight}px`;
}

// ------------------------------------------------------------------------------------------------- the address

/** Keep in the address what is on the page. */
function remember() {
  const now = new URLSearchParams();
  const [first, second] = outputs;
  if (models.length > 1) now.set("model", first.model.name);
  if (second.node.isConnected) now.set("second", second.model.name);
  if (number(settings.beam) !== first.model.beam) now.set("beam", settings.beam.value);
  for (const name of ["nbest", "doubt"]) {
    if (settings[name].value !== settings[name].defaultValue) now.set(name, settings[name].value);
  }
  for (const [name, choice] of Object.entries(picture.chosen)) if (choice) now.set(name, choice);
  for (const token of first.kept) now.append("keep", token);
  for (const token of second.kept) now.append("keep2", token);
  if (text.trim()) now.set("text", text);
  history.replaceState(null, "", text.trim() ? `#${now}` : location.pathname + location.search);
}

/** Bring the page to what the address says. */
function recall() {
  const then = new URLSearchParams(location.hash.slice(1));
  const model = models.find(({ name }) => name === then.get("model")) ?? models[0];
  element("model").value = model.name;
  useModel(model, then.get("second"));
  settings.beam.value = then.get("beam") ?? model.beam;
  for (const name of ["nbest", "doubt"]) settings[name].value = then.get(name) ?? settings[name].defaultValue;
  for (const name of ["beam", "nbest"]) settings[name].value = number(settings[name]);
  Object.assign(picture.chosen, Object.fromEntries(["view", "head", "unit"].map((name) => [name, then.get(name)])));
  showDoubt();
  text = source.value = then.get("text") ?? source.value;
  [outputs[0].kept, outputs[1].kept] = [then.getAll("keep"), then.getAll("keep2")];
  read({ quick: false });
}

/** Translate with a model, and offer those that can stand beside it. */
function useModel(model, second = settings.second.value) {
  const [a, b] = outputs;
  const beside = models.filter((each) => each !== model && each.source === model.source);
  const other = beside.find(({ name }) => name === second);
  settings.second.replaceChildren(make("option", { value: "" }, "none"),
    ...beside.map(({ name }) => make("option", { value: name }, name)));
  settings.second.value = other?.name ?? "";
  element("second-field").hidden = !beside.length;
  a.use(model);
  if (other) b.use(other);
  element("outputs").replaceChildren(a.node, ...(other ? [b.node] : []));
  element("outputs").classList.toggle("two", Boolean(other));
  if (other) for (const output of outputs) output.name.textContent = `${output.language} · ${output.model.name}`;

  // the field and the sentences to try are in the language of the model
  source.lang = model.source;
  element("source-name").textContent = model.source_name || model.source;
  element("examples").replaceChildren(...(model.examples ?? []).map((words) => {
    const button = make("button", { type: "button", className: "example", lang: model.source, dir: "auto" }, words);
    button.addEventListener("click", () => fill(words));
    return make("li", {}, button);
  }));
  element("start-name").hidden = !model.examples?.length;
}

function showDoubt() {
  element("doubt-value").textContent = `${settings.doubt.value} %`;
}

// ------------------------------------------------------------------------------------------- what the reader does

/** Whether letters that an input method composes are not yet words: those of Japanese and Chinese. */
function isUnfinished(event) {
  return event.isComposing && (/^(ja|zh)\b/.test(source.lang)
    || /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Bopomofo}]/u.test(event.data ?? ""));
}

source.addEventListener("input", (event) => {
  if (isUnfinished(event)) fit();
  else read({ delay: event.isComposing ? COMPOSING : DEBOUNCE });
});
source.addEventListener("compositionend", () => { if (source.value !== text) read({ delay: DEBOUNCE }); });
addEventListener("resize", fit);
addEventListener("hashchange", recall);
element("clear").addEventListener("click", () => fill(""));
element("drawer").addEventListener("submit", (event) => event.preventDefault());
element("options").addEventListener("click", (event) => {
  const drawer = element("drawer");
  drawer.hidden = !drawer.hidden;
  event.currentTarget.ariaExpanded = String(!drawer.hidden);
});
element("model").addEventListener("change", (event) => {
  const model = models.find(({ name }) => name === event.target.value);
  useModel(model);
  settings.beam.value = model.beam;
  read({ quick: false });
});
settings.second.addEventListener("change", () => {
  useModel(outputs[0].model);
  read({ quick: false });
});
for (const name of ["beam", "nbest"]) {
  settings[name].addEventListener("change", (event) => {
    event.target.value = number(event.target);
    read({ quick: false });
  });
}
settings.doubt.addEventListener("input", () => {
  showDoubt();
  write();
  remember();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing || choices.matches(":popover-open")) return;
  if (!picture.dismiss()) for (const output of active()) if (output.kept.length) output.release();
});
element("save-svg").addEventListener("click", () => download("attention.svg", "image/svg+xml", picture.toSvg()));
element("save-page").addEventListener("click", savePage);

/** Save the picture as one file, the page that `seq2seq attention --output x.html` writes. */
async function savePage() {
  const files = ["attention.html", "page.css", "attention.js"];
  const [template, style, script] = await Promise.all(files.map(async (name) => (await fetch(`page/${name}`)).text()));
  const plain = (words) => words.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
  const data = JSON.stringify(picture.views.map(({ output, ...view }) => view))
    .replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const { output } = picture.view;
  const fields = { style, script, data, text: plain(text), translation: plain(output.found.text),
    source: plain(output.model.source), target: plain(output.model.target) };
  download("attention.html", "text/html", template.replace(/\{\{(\w+)\}\}/g, (_, name) => fields[name]));
}

/** Learn which models there are, and begin. */
async function start() {
  ({ models } = await ask("v1/models", null, new AbortController().signal, element("problem")));
  const pairs = models.map((model) => `${model.source_name || model.source} → ${model.target_name || model.target}`);
  element("model").replaceChildren(...models.map(({ name }, i) => make("option", { value: name },
    pairs.indexOf(pairs[i]) === pairs.lastIndexOf(pairs[i]) ? pairs[i] : `${pairs[i]} · ${name}`)));
  element("model-field").hidden = models.length < 2;
  recall();
}

start();
