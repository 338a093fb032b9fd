// The page: what is asked stands in the address, so that Back goes back.

import * as api from "./api.js";
import { describe, openCard } from "./card.js";
import { Grid, number } from "./grid.js";

const $ = (id) => document.getElementById(id);
const PAGE = 60;
const MOST = 1000;

/** Uploaded files by the number in the history's state; they last as long as the page. */
const uploads = new Map();
let upload = 0;
let state;
let running;
let scale = 0;
/** Generation of the gallery that the page has described. */
let described;

const grid = new Grid($("grid"), {
  more: (id) => go({ ids: [id], files: 0 }),
  chose: showSelection,
});

function read() {
  const query = new URLSearchParams(location.search);
  return {
    ids: query.getAll("id"),
    files: Number(query.get("upload") ?? 0),
    label: query.get("label"),
    path: query.get("path") ?? "",
    threshold: Number(query.get("within") ?? 0) || 0,
    k: PAGE,
  };
}

function go(change, replace = false) {
  const next = { ...state, k: PAGE, ...change };
  const query = api.parameters({
    id: next.ids,
    upload: next.files || null,
    label: next.label,
    path: next.path || null,
    within: next.threshold || null,
  });
  const address = `${query}` ? `/?${query}` : "/";
  if (address !== location.pathname + location.search) {
    history[replace ? "replaceState" : "pushState"](null, "", address);
  }
  const focus = Boolean(change.ids) && document.activeElement.closest("#grid") !== null;
  if (change.ids) scrollTo({ top: 0 });
  show(next, focus);
}

async function show(next, focus = false) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  state = next;
  const files = uploads.get(state.files) ?? [];
  const searching = state.ids.length > 0 || state.files > 0;
  const filters = { label: state.label, path: state.path || null };
  $("label").value = state.label == null ? "" : `=${state.label}`;
  $("path").value = state.path;
  drawQueries(files);
  $("filters").querySelector(".range").hidden = !searching;
  if (state.files && !files.length) {
    grid.clear();
    $("more").hidden = true;
    return say("The uploaded image is gone with the page it was on; choose it again.", "bad");
  }
  say(searching ? "Searching" : "Loading", "busy");
  try {
    const generation = await (searching ? find : list)(files, filters, signal);
    if (generation !== described) describeAgain();
    if (focus) grid.buttons()[0]?.focus({ preventScroll: true });
  } catch (error) {
    if (error.name === "AbortError") return;
    grid.clear();
    $("more").hidden = true;
    say(error.message, "bad");
  }
}

/** Shows what is like the query. */
async function find(files, filters, signal) {
  const { ids, k } = state;
  const threshold = state.threshold || null;
  const { hits, generation } = await api.search({ ids, files, filters, k, threshold }, signal);
  grid.clear();
  grid.add(hits);
  setScale(hits);
  const found = hits.reduce((sum, hit) => sum + 1 + (hit.duplicates?.length ?? 0), 0);
  const hidden = found - hits.length;
  const twins = hidden ? `, ${count(hidden, "near duplicate")} collapsed` : "";
  say(found ? `${count(hits.length, "nearest image")}${twins}` : "No image passes the filters.");
  $("more").hidden = found < k || k >= MOST;
  return generation;
}

/** Shows the gallery, page by page. */
async function list(_, filters, signal) {
  const offset = state.k - PAGE;
  const { items, total, generation } = await api.items(filters, offset, signal);
  if (!offset) grid.clear();
  grid.add(items);
  say(total ? count(total, "image") : "No image passes the filters.");
  $("more").hidden = offset + items.length >= total;
  return generation;
}

const count = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;

function say(text, kind = "") {
  $("status").textContent = text.charAt(0).toUpperCase() + text.slice(1);
  $("status").className = kind;
}

async function describeAgain() {
  try {
    described = await describe(state.label);
  } catch (error) {
    say(error.message, "bad");
  }
}

/** The query as pictures; uploads are drawn, so that nothing but the server's images is loaded. */
function drawQueries(files) {
  const pictures = state.ids.map((id) => {
    const image = document.createElement("img");
    Object.assign(image, { src: api.item(id, "thumbnail"), alt: `Query: ${id}`, title: id });
    image.addEventListener("error", () => image.remove());
    return image;
  });
  for (const file of files) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 176;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Query: ${file.name}`);
    canvas.title = file.name;
    createImageBitmap(file).then((bitmap) => {
      const factor = 176 / Math.min(bitmap.width, bitmap.height);
      const [width, height] = [bitmap.width * factor, bitmap.height * factor];
      canvas.getContext("2d").drawImage(bitmap, (176 - width) / 2, (176 - height) / 2, width, height);
    }, () => {
      // The server reads formats that the browser does not.
      const name = document.createElement("span");
      name.textContent = file.name;
      canvas.replaceWith(name);
    });
    pictures.push(canvas);
  }
  $("queries").replaceChildren(...pictures);
}

/** The slider reaches to the distance of the farthest image first shown. */
function setScale(hits) {
  const farthest = Math.max(0, ...hits.map((hit) => hit.distance));
  if (!state.threshold || !scale) scale = Math.max(farthest, state.threshold) || 1;
  $("threshold").value = Math.round(($("threshold").max * state.threshold) / scale);
  $("distance").value = within(state.threshold);
}

const slid = () => Number(number((scale * $("threshold").value) / $("threshold").max));
const within = (threshold) => (threshold ? number(threshold) : "off");

function search(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/"));
  if (!images.length) return say("That is no image.", "bad");
  uploads.set(++upload, images);
  go({ ids: [], files: upload, threshold: 0 });
}

function showSelection() {
  const count = grid.chosen.size;
  $("labelling").hidden = !count;
  $("chosen").textContent = `${count.toLocaleString("en")} selected`;
}

/** Selects nothing; the keyboard is back in the grid, since the form is gone. */
function clear() {
  const lost = $("labelling").contains(document.activeElement);
  grid.unchoose();
  if (lost) grid.focus();
}

/** Labels the selection, or takes labels given before away. */
async function give(label) {
  try {
    await api.setLabels(Object.fromEntries([...grid.chosen].map((id) => [id, label ?? null])));
    const images = count(grid.chosen.size, "image");
    say(label ? `${images} labelled ${label}.` : `Labels given to ${images} taken away.`);
    grid.relabel(label);
    await describeAgain();
  } catch (error) {
    say(error.message, "bad");
  }
}

$("files").addEventListener("change", ({ target }) => {
  search(target.files);
  target.value = "";
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  $("ask").classList.add("over");
});
addEventListener("dragleave", () => $("ask").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  $("ask").classList.remove("over");
  search(event.dataTransfer.files);
});
addEventListener("paste", ({ clipboardData }) => {
  if (clipboardData?.files.length) search(clipboardData.files);
});
addEventListener("popstate", () => show(read()));
addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input:not([type=checkbox], [type=range]), select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || $("card").open) return;
  if (event.key === "Escape" && grid.chosen.size) clear();
  else if (typing) return;
  else if (event.key === "/") $("path").focus();
  else if (event.key === "l" && grid.chosen.size) $("new-label").focus();
  else return;
  event.preventDefault();
});

$("filters").addEventListener("submit", (event) => event.preventDefault());
$("label").addEventListener("change", ({ target }) => go({ label: target.value ? target.value.slice(1) : null }));
$("path").addEventListener("change", ({ target }) => go({ path: target.value.trim() }));
$("threshold").addEventListener("input", () => { $("distance").value = within(slid()); });
$("threshold").addEventListener("change", () => go({ threshold: slid() }, true));
$("more").addEventListener("click", () => show({ ...state, k: Math.min(MOST, state.k + PAGE) }));

$("clear").addEventListener("click", clear);
$("all").addEventListener("click", () => grid.chooseAll());
$("take").addEventListener("click", () => give());
$("labelling").addEventListener("submit", (event) => {
  event.preventDefault();
  give($("new-label").value.trim());
});
$("card-button").addEventListener("click", openCard);

show(read());
