// The clients of LibreTranslate on npm, against a running server: node scripts/clients/npm.mjs http://127.0.0.1:5000
// They are found in build/npm, where `npm install --prefix build/npm PACKAGE...` puts them; docs/serving.md has the line.
// Prints one JSON object: what each client was answered.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { createInterface } from "node:readline";

const address = process.argv[2];
const folder = resolve(process.argv[3] ?? "build/npm");
const require = createRequire(`${folder}/`);
const text = "the cat";
const answers = {};

// libretranslate: looks into /languages first
const { translate } = require("libretranslate");
answers.libretranslate = await translate({ query: text, source: "en", target: "de", apiurl: address });

// libretranslate-ts
const { libreTranslate } = require("libretranslate-ts");
libreTranslate.setApiEndpoint(address);
const [languages, detected, translated, refused] = [
  await libreTranslate.listLanguages(),
  await libreTranslate.detect("the cat sees the old dog"),
  await libreTranslate.translate(text, "auto", "de", 2),
  await libreTranslate.translate(text, "xx", "de"),
];
answers["libretranslate-ts"] = { languages, detected, translated, refused };

// translate
const { default: Translate } = await import(`${folder}/node_modules/translate/index.min.js`);
Translate.engine = "libre";
Translate.url = `${address}/translate`;
answers.translate = await Translate(text, { from: "en", to: "de" });

// @libretranslate/mcp: speaks JSON-RPC over its standard streams
const server = spawn("node", [`${folder}/node_modules/@libretranslate/mcp/dist/index.js`], {
  env: { ...process.env, LIBRETRANSLATE_API_URL: address, LIBRETRANSLATE_URL: address },
  stdio: ["pipe", "pipe", "inherit"],
});
const lines = createInterface({ input: server.stdout })[Symbol.asyncIterator]();
let number = 0;
async function call(method, params) {
  const id = ++number;
  server.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
  for (;;) {
    const reply = JSON.parse((await lines.next()).value);
    if (reply.id === id) return reply.result ?? reply.error;
  }
}
const client = { name: "test", version: "1" };
await call("initialize", { protocolVersion: "2025-03-26", capabilities: {}, clientInfo: client });
server.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", method: "notifications/initialized" })}\n`);
const { tools } = await call("tools/list", {});
const tool = tools.find(({ name }) => /translate/.test(name) && !/detect/.test(name));
answers.mcp = await call("tools/call", { name: tool.name, arguments: { text, q: text, source: "en", target: "de" } });
server.kill();

console.log(JSON.stringify(answers));
