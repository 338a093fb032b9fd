// Uses the page as people do. Ends with code 0 if all is as expected.
// node page.mjs CHROMIUM ADDRESS IMAGE SCRATCH [PICTURES]: the profile and downloads go into
// SCRATCH, pictures of the page into PICTURES.

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { Page } from "./chromium.mjs";

const [chromium, address, image, scratch, pictures] = process.argv.slice(2);
const downloads = `${scratch}/downloads`;
mkdirSync(downloads, { recursive: true });
const page = await Page.open({ chromium, profile: `${scratch}/profile`, downloads, pictures });

const check = (holds, what) => { if (!holds) throw new Error(what); };
const text = (id) => page.run(`document.getElementById('${id}').textContent`);
const count = (selector) => page.run(`document.querySelectorAll('${selector}').length`);
const first = () => page.run("document.querySelector('#grid li')?.dataset.id");
const settled = "document.getElementById('status').className === '' && document.querySelectorAll('#grid li').length > 0";
const uploaded = (number) => page.until(
  `location.search.includes('upload=${number}') && document.querySelector('.distance') !== null && ${settled}`, `results of upload ${number}`);
const change = (id, value) => page.run(`{ const e = document.getElementById('${id}'); e.value = ${JSON.stringify(value)};
  for (const type of ["input", "change"]) e.dispatchEvent(new Event(type)); }`);

async function uploads() {
  await page.go(address);
  await page.until(settled, "the gallery is shown");
  await page.picture("1-gallery");
  await page.choose("#files", [image]);
  await uploaded(1);
  const found = await first();
  check(await page.run("document.querySelector('.distance').textContent") === "0", "the image finds itself");
  check(await count("#queries canvas") === 1, "the query is shown");
  const above = "document.querySelector('#queries').compareDocumentPosition(document.getElementById('grid'))";
  check(await page.run(`${above} & Node.DOCUMENT_POSITION_FOLLOWING`), "before what was found");
  check(await page.run("[...document.querySelectorAll('.distance')].every((d, i, all) => !i || +d.textContent >= +all[i - 1].textContent)"), "nearest first");
  await page.picture("2-upload");
  await page.drop("#grid", [image]);
  await uploaded(2);
  check(await first() === found, "dropped, it finds the same");
  await page.run(`fetch(document.querySelector('.words a').href).then((answer) => answer.blob()).then((blob) => {
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([blob], "pasted.png", { type: "image/png" }));
    document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
  })`);
  await uploaded(3);
  check(await first() === found, "pasted, it finds the same");
  await page.choose("#files", [image, image]);
  await uploaded(4);
  check(await count("#queries canvas") === 2, "two are averaged");
  check(await first() === found, "to the same");
}

async function moreLikeThis() {
  const before = await first();
  await page.click(".open", 3);
  await page.until(`location.search.includes('id=') && ${settled}`, "more like this");
  check(await first() !== before, "another query finds another image first");
  check(await page.run("new URLSearchParams(location.search).get('id') === document.querySelector('#queries img').title"), "the query is shown");
  await page.picture("3-more-like-this");
  await page.run("history.back()");
  await page.until(`document.querySelector('#grid li')?.dataset.id === ${JSON.stringify(before)}`, "back");
}

async function filters() {
  const value = await page.run("document.querySelectorAll('#label option')[1].value");
  await change("label", value);
  await page.until(`location.search.includes('label=') && ${settled}`, "filtered");
  const labels = await page.run("[...new Set([...document.querySelectorAll('.words a')].map((a) => a.textContent))]");
  check(labels.length === 1 && `=${labels[0]}` === value, `only ${value}: ${labels}`);
  await page.picture("4-filtered");
  await change("label", "");
  await page.until(`!location.search.includes('label=') && ${settled}`, "unfiltered");
}

async function duplicates() {
  const before = await count("#grid li");
  check(await text("distance") === "off", "nothing is collapsed at first");
  await change("threshold", 120);
  await page.until(`document.querySelector('.count') !== null && ${settled}`, "collapsed");
  check(Number(await text("distance")) > 0, "the threshold is shown");
  const after = await count("#grid li");
  check(after < before, "fewer are shown");
  const twins = Number((await page.run("document.querySelector('.count').textContent")).slice(1));
  await page.picture("5-collapsed");
  await page.click(".count");
  check(await count("#grid li") === after + twins, "a group opens");
  await page.picture("6-expanded");
  await page.click(".count");
  check(await count("#grid li") === after, "and closes");
}

async function keyboard() {
  await page.go(address);
  await page.until(settled, "the gallery again");
  await page.key("/");
  check(await page.run("document.activeElement.id") === "path", "/ focuses the filter");
  await page.type("*1*");
  await page.key("Enter");
  await page.until(`location.search.includes('path=') && ${settled}`, "filtered by path");
  check(await page.run("[...document.querySelectorAll('#grid li')].every((li) => li.dataset.id.includes('1'))"), "all pass");
  await page.tabTo(".open");
  const at = () => page.run("[...document.querySelectorAll('.open')].indexOf(document.activeElement)");
  for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft"]) await page.key(key);
  check(await at() === 1, "arrow keys walk");
  await page.key("ArrowDown");
  check(await at() > 2, "also down");
  await page.key("ArrowUp");
  check(await at() === 1, "and up");
  for (const key of [" ", "ArrowRight", "x"]) await page.key(key);
  check(await count(".chosen") === 2, "two are selected");
  const two = await page.run("[...document.querySelectorAll('.chosen')].map((li) => li.dataset.id)");
  await page.picture("7-selected");
  await page.key("l");
  check(await page.run("document.activeElement.id") === "new-label", "l asks for the label");
  await page.type("my label");
  await page.key("Enter");
  await page.until("document.getElementById('status').textContent.includes('labelled')", "labelled");
  await page.until("[...document.querySelectorAll('#label option')].some((o) => o.textContent === 'my label (2)')", "the filter knows it");
  await page.key("Escape");
  check(await page.run("document.activeElement.matches('.open')"), "the focus is in the grid again");
  await page.key("Enter");
  await page.until(`location.search.includes('id=') && ${settled}`, "Enter asks for more like this");
  await page.tabTo("#card-button").catch(() => page.run("document.querySelector('.home').focus()"));
  await page.tabTo("#card-button");
  await page.key("Enter");
  await page.until("document.querySelector('#scores dd') !== null", "scores");
  check(await count("#facts dd") > 2, "facts");
  await page.picture("8-card");
  await page.key("Escape");
  check(!(await page.run("document.getElementById('card').open")), "Escape closes the card");
  return two;
}

async function exportOf(two) {
  await change("label", "=my label");
  await page.until(`location.search.includes('label=') && ${settled}`, "filtered by the label given");
  const found = await page.run("[...document.querySelectorAll('#grid li')].map((li) => li.dataset.id)");
  check(found.every((id) => two.includes(id)), `${found} of ${two}`);
  await page.click("#download");
  const file = `${downloads}/labels.csv`;
  for (const begun = Date.now(); !existsSync(file);) {
    check(Date.now() - begun < 30_000, "the labels are never there");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const csv = readFileSync(file, "utf8");
  check(csv.split("\n").filter((line) => line.endsWith(",my label")).length === 2, csv);
  check(two.every((id) => csv.includes(id.replaceAll('"', '""'))), "the table names them");
}

async function looks() {
  await page.go(address);
  await page.until(settled, "the gallery once more");
  for (const [width, height, name] of [[360, 740, "narrow"], [768, 1024, "tablet"]]) {
    await page.screen(width, height, true);
    await page.until(`document.documentElement.scrollWidth <= ${width}`, `fits ${width} pixels`);
    await page.picture(`9-${name}`);
  }
  await page.screen(360, 740, true);
  await page.click(".tick");
  check(await page.run("document.getElementById('labelling').getBoundingClientRect().right <= 360"), "labelling fits");
  await page.picture("9-narrow-selected");
  await page.dark(true);
  await page.click("#clear");
  const paper = () => page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)");
  check((await paper()).every((part) => part < 60), "dark where asked for");
  await page.picture("10-narrow-dark");
  await page.screen(1280, 860);
  await page.picture("11-dark");
  await page.dark(false);
  check((await paper()).every((part) => part > 200), "light where not");
}

async function failures() {
  await page.go(`${address}/?path=nothing/*`);
  await page.until("document.getElementById('status').textContent.includes('No image')", "nothing passes");
  await page.picture("12-empty");
  check(page.complaints.length === 0, "no complaint of the browser");
  const outside = page.requests.filter((url) => !url.startsWith(`${address}/`) && !/^(about|blob|data):/.test(url));
  check(page.requests.length > 20 && outside.length === 0, `asked of the outside: ${outside}`);
  await page.go(`${address}/?id=nothing`);
  await page.until("document.getElementById('status').className === 'bad'", "an error is shown");
  await page.picture("13-error");
  // What a script slipped in could not do.
  check(await page.run("fetch('http://localhost:9/').then(() => false, () => true)"), "fetching elsewhere fails");
  check(page.complaints.some((text) => /Content Security Policy/.test(text)), "by the policy");
  check(await page.run("{ const s = document.createElement('script'); s.textContent = 'window.slipped = 1'; document.body.append(s); window.slipped === undefined }"), "no inline script runs");
}

try {
  await page.screen(1280, 860);
  await uploads();
  await moreLikeThis();
  await filters();
  await duplicates();
  await exportOf(await keyboard());
  await looks();
  await failures();
  console.log(`the page works, by ${page.requests.length} requests to its server and none elsewhere`);
} catch (error) {
  await page.picture("failed").catch(() => {});
  console.error(`${error.stack}\ncomplaints: ${page.complaints.join("; ")}`);
  process.exitCode = 1;
} finally {
  page.close();
}
