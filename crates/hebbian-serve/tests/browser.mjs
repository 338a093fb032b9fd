// Drives the page in headless Chromium over the DevTools protocol (its pipe: no port, no package).
// node browser.mjs CHROMIUM ADDRESS IMAGE PROFILE [PICTURES]: profile is a scratch folder; pictures
// of the page go into PICTURES. Ends with code 0 if all is as expected.

import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";

const [chromium, address, image, profile, pictures] = process.argv.slice(2);
const browser = spawn(chromium, ["--headless", "--no-sandbox", "--disable-gpu",
  "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
  "--remote-debugging-pipe", `--user-data-dir=${profile}`, "about:blank"],
{ stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
const [, , , input, output] = browser.stdio;
const waiting = new Map();
const complaints = [];
let number = 0;
let rest = Buffer.alloc(0);
output.on("data", (data) => {
  rest = Buffer.concat([rest, data]);
  for (let end; (end = rest.indexOf(0)) >= 0; rest = rest.subarray(end + 1)) {
    const message = JSON.parse(rest.subarray(0, end));
    if (message.id) {
      const { resolve, reject } = waiting.get(message.id);
      message.error ? reject(new Error(message.error.message)) : resolve(message.result);
    } else if (message.method === "Runtime.exceptionThrown") {
      complaints.push(message.params.exceptionDetails.exception?.description);
    } else if (message.method === "Log.entryAdded" && message.params.entry.level === "error") {
      complaints.push(message.params.entry.text);
    }
  }
});

let session;
const send = (method, params = {}) => new Promise((resolve, reject) => {
  waiting.set(++number, { resolve, reject });
  input.write(`${JSON.stringify({ id: number, method, params, sessionId: session })}\0`);
});
const run = async (expression) => {
  const { result, exceptionDetails } = await send("Runtime.evaluate",
    { expression, returnByValue: true, awaitPromise: true });
  if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
  return result.value;
};
const until = async (expression, what = expression) => {
  for (const begun = Date.now(); Date.now() - begun < 60_000;) {
    // While a page is being left, the next one has nothing yet.
    if (await run(expression).catch(() => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`never: ${what}; status: ${await run("document.getElementById('status')?.textContent")}`);
};
const codes = { "/": "Slash", " ": "Space", Enter: "Enter", Tab: "Tab" };
const key = async (name) => {
  const text = name === "Enter" ? "\r" : name.length === 1 ? name : undefined;
  const event = { key: name, code: codes[name] ?? name, text };
  const virtual = { ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40, Enter: 13, Tab: 9, " ": 32, Escape: 27 };
  event.windowsVirtualKeyCode = virtual[name] ?? name.charCodeAt(0);
  await send("Input.dispatchKeyEvent", { type: text ? "keyDown" : "rawKeyDown", ...event });
  await send("Input.dispatchKeyEvent", { type: "keyUp", ...event, text: undefined });
};
const type = (text) => send("Input.insertText", { text });
const screen = (width, height, mobile = false) =>
  send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile });
const picture = async (name) => {
  if (!pictures) return;
  // Until what is to be seen has been loaded.
  await run("Promise.all([...document.images].filter((i) => !i.complete && i.getBoundingClientRect().top < innerHeight).map((i) => new Promise((r) => { i.onload = i.onerror = r; setTimeout(r, 3000); })))");
  await new Promise((resolve) => setTimeout(resolve, 150));
  const { data } = await send("Page.captureScreenshot", { format: "png" });
  writeFileSync(`${pictures}/${name}.png`, Buffer.from(data, "base64"));
};
const check = (holds, what) => { if (!holds) throw new Error(what); };
const status = () => run("document.getElementById('status').textContent");
const first = () => run("document.querySelector('#grid li')?.dataset.id");
const settled = "document.getElementById('status').className === '' && document.querySelectorAll('#grid li').length > 0";

try {
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  ({ sessionId: session } = await send("Target.attachToTarget", { targetId, flatten: true }));
  for (const domain of ["Page", "Runtime", "Log", "DOM"]) await send(`${domain}.enable`);
  await screen(1280, 860);
  await send("Page.navigate", { url: address });
  await until(settled, "the gallery is shown");
  const begin = await status();
  await picture("1-gallery");

  // An upload.
  const { root } = await send("DOM.getDocument");
  const { nodeId } = await send("DOM.querySelector", { nodeId: root.nodeId, selector: "#files" });
  await send("DOM.setFileInputFiles", { nodeId, files: [image] });
  await until("location.search.includes('upload') && document.querySelector('.distance') !== null", "results");
  check(await run("document.querySelector('.distance').textContent") === "0", "the image finds itself");
  check(await run("document.querySelectorAll('#queries canvas').length") === 1, "the query is shown");
  await picture("2-upload");

  // More like this, and back.
  const uploaded = await first();
  await run("document.querySelectorAll('.open')[3].click()");
  await until(`location.search.includes('id=') && ${settled}`, "more like this");
  const similar = await first();
  check(similar !== uploaded, "another query finds another image first");
  await picture("3-more-like-this");
  await run("history.back()");
  await until(`document.querySelector('#grid li')?.dataset.id === ${JSON.stringify(uploaded)}`, "back");

  // A filter: all that is found has the label.
  const label = await run("document.querySelectorAll('#label option')[1].value");
  await run(`{ const s = document.getElementById('label'); s.value = ${JSON.stringify(label)}; s.dispatchEvent(new Event('change')); }`);
  await until(`location.search.includes('label=') && ${settled}`, "filtered");
  const labels = await run("[...new Set([...document.querySelectorAll('.words b')].map((b) => b.textContent))]");
  check(labels.length === 1 && labels[0] === label, `only ${label}: ${labels}`);
  await picture("4-filtered");

  // Near duplicates.
  await run("{ const t = document.getElementById('threshold'); t.value = 100; t.dispatchEvent(new Event('input')); t.dispatchEvent(new Event('change')); }");
  await until(`document.querySelector('.count') !== null && ${settled}`, "collapsed");
  await picture("5-collapsed");

  // By keyboard alone: filter by path, walk the grid, select two, label them, more like this.
  await send("Page.navigate", { url: address });
  await until(settled, "the gallery again");
  await run("document.body.focus()");
  await key("/");
  check(await run("document.activeElement.id") === "path", "/ focuses the filter");
  await type("*1*");
  await key("Enter");
  await until(`location.search.includes('path=') && ${settled}`, "filtered by path");
  for (let i = 0; i < 3 && !(await run("document.activeElement.matches('.open')")); i++) await key("Tab");
  check(await run("document.activeElement.matches('.open')"), "Tab leads into the grid");
  const at = () => run("[...document.querySelectorAll('.open')].indexOf(document.activeElement)");
  await key("ArrowRight");
  await key("ArrowRight");
  await key("ArrowLeft");
  check(await at() === 1, "arrow keys walk");
  await key("ArrowDown");
  check(await at() > 2, "also down");
  await key("ArrowUp");
  check(await at() === 1, "and up");
  await key(" ");
  await key("ArrowRight");
  await key("x");
  check(await run("document.querySelectorAll('.chosen').length") === 2, "two are selected");
  await picture("6-selected");
  const two = await run("[...document.querySelectorAll('.chosen')].map((li) => li.dataset.id)");
  await run("document.getElementById('new-label').focus()");
  await type("my label");
  await key("Enter");
  await until("document.getElementById('status').textContent.includes('labelled')", "labelled");
  const csv = await run("fetch('/api/labels.csv').then((answer) => answer.text())");
  check(csv.split("\n").filter((line) => line.endsWith(",my label")).length === 2, csv);
  check(two.every((id) => csv.includes(id.replaceAll('"', '""'))), "the table names them");
  await key("Escape");
  await run("document.querySelector('.open').focus()");
  await key("Enter");
  await until(`location.search.includes('id=') && ${settled}`, "Enter asks for more like this");

  // Model card, a narrow screen, dark, nothing found, an error.
  await run("document.getElementById('card-button').click()");
  check(await run("document.querySelectorAll('#facts dd').length > 2"), "facts");
  await picture("7-card");
  await key("Escape");
  await screen(360, 740, true);
  await until("document.documentElement.scrollWidth <= 360", "fits a narrow screen");
  await picture("8-narrow");
  await send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: "dark" }] });
  await picture("9-narrow-dark");
  await screen(1280, 860);
  await picture("10-dark");
  await send("Emulation.setEmulatedMedia", { features: [] });
  await send("Page.navigate", { url: `${address}/?path=nothing/*` });
  await until("document.getElementById('status').textContent.includes('No image')", "nothing passes");
  await picture("11-empty");
  check(complaints.length === 0, `the browser complains: ${complaints.join("; ")}`);
  await send("Page.navigate", { url: `${address}/?id=nothing` });
  await until("document.getElementById('status').className === 'bad'", "an error is shown");
  await picture("12-error");
  console.log(`the page works: ${begin}`);
} catch (error) {
  await picture("failed").catch(() => {});
  console.error(`${error.message}\ncomplaints: ${complaints.join("; ")}`);
  process.exitCode = 1;
} finally {
  browser.kill();
}
