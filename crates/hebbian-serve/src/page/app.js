// The page: what is asked stands in the address, so that Back goes back.

import * as api from "./api.js";
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

const grid = new Grid($("grid"), {
  more: (id) => go({ ids: [id], files: 0 }),
  chose: showSelection,
});

function read() {
  const query = new URLSearchParams(location.search);
  return {
    ids: query.getAll("id"),
    files: Number(query.get("upload") ?? 0),
    label: query.get("label") ?? "",
    path: query.get("path") ?? "",
    threshold: Number(query.get("within") ?? 0) || 0,
    k: PAGE,
  };
}

function go(change, replace = false) {
  const next = { ...state, k: PAGE, ...change };
  const query = api.parameters({
    id: next.ids,
    upload: next.files || "",
    label: next.label,
    path: next.path,
    within: next.threshold || "",
  });
  const address = `${query}` ? `/?${query}` : "/";
  if (address !== location.pathname + location.search) {
    history[replace ? "replaceState" : "pushState"](null, "", address);
  }
  show(next, Boolean(change.ids) && document.activeElement.closest("#grid") !== null);
}

async function show(next, focus = false) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  state = next;
  const files = uploads.get(state.files) ?? [];
  const searching = state.ids.length > 0 || state.files > 0;
  const filters = { label: state.label, path: state.path };
  $("label").value = state.label;
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
    if (searching) {
      const { ids, k, threshold } = state;
      const { hits } = await api.search({ ids, files, filters, k, threshold }, signal);
      grid.clear();
      grid.add(hits);
      setScale(hits);
      const found = hits.reduce((sum, hit) => sum + 1 + (hit.duplicates?.length ?? 0), 0);
      const hidden = found - hits.length;
      const twins = hidden ? `, ${count(hidden, "near duplicate")} collapsed` : "";
      say(found ? `${count(hits.length, "nearest image")}${twins}` : "No image passes the filters.");
      $("more").hidden = found < k || k >= MOST;
    } else {
      const offset = state.k - PAGE;
      const { items, total } = await api.items(filters, offset, signal);
      if (!offset) grid.clear();
      grid.add(items);
      say(total ? count(total, "image") : "No image passes the filters.");
      $("more").hidden = offset + items.length >= total;
    }
    if (focus) grid.buttons()[0]?.focus();
  } catch (error) {
    if (error.name === "AbortError") return;
    grid.clear();
    $("more").hidden = true;
    say(error.message, "bad");
  }
}

const count = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;

function say(text, kind = "") {
  $("status").textContent = text.charAt(0).toUpperCase() + text.slice(1);
  $("status").className = kind;
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
    }, () => {});
    pictures.push(canvas);
  }
  $("queries").replaceChildren(...pictures);
}

/** The slider reaches to the distance of the farthest image first shown. */
function setScale(hits) {
  const farthest = Math.max(0, ...hits.map((hit) => hit.distance));
  if (!state.threshold || !scale) scale = Math.max(farthest, state.threshold) || 1;
  $("threshold").value = Math.round((100 * state.threshold) / scale);
  $("distance").value = number(state.threshold);
}

function search(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/"));
  if (!images.length) return say("That is no image.", "bad");
  uploads.set(++upload, images);
  go({ ids: [], files: upload, threshold: 0 });
}

function showSelection() {
  const count = grid.chosen.size;
  $("labelling").hidden = !count;
  $("chosen").textContent = `${count} selected`;
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
  const typing = event.target.matches?.("input, select, textarea");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    $("path").focus();
  } else if (event.key === "Escape" && grid.chosen.size && !$("card").open) grid.unchoose();
});

$("filters").addEventListener("submit", (event) => event.preventDefault());
$("label").addEventListener("change", ({ target }) => go({ label: target.value }));
$("path").addEventListener("change", ({ target }) => go({ path: target.value.trim() }));
$("threshold").addEventListener("input", ({ target }) => {
  $("distance").value = number((scale * target.value) / 100);
});
$("threshold").addEventListener("change", ({ target }) =>
  go({ threshold: Number(number((scale * target.value) / 100)) }, true));
$("more").addEventListener("click", () => show({ ...state, k: Math.min(MOST, state.k + PAGE) }));

$("clear").addEventListener("click", () => grid.unchoose());
$("labelling").addEventListener("submit", async (event) => {
  event.preventDefault();
  const label = $("new-label").value.trim();
  try {
    await api.setLabels(Object.fromEntries([...grid.chosen].map((id) => [id, label])));
    say(`${count(grid.chosen.size, "image")} labelled ${label}.`);
    grid.relabel(label);
  } catch (error) {
    say(error.message, "bad");
  }
});

$("card-button").addEventListener("click", () => $("card").showModal());

async function describe() {
  const { images, dim, layer, labels, model, created } = await api.gallery();
  $("about").textContent = `${images.toLocaleString()} images, ${dim.toLocaleString()} features of ${layer}`;
  for (const { label, count } of labels) {
    $("label").append(new Option(`${label} (${count.toLocaleString()})`, label));
    $("labels").append(new Option(label));
  }
  $("label").value = state?.label ?? "";
  const facts = [...(model?.facts ?? [{ name: "Model", value: "none; images of the gallery can be searched with" }]),
    { name: "Features", value: `${layer}, ${dim} numbers an image` },
    { name: "Gallery begun", value: created }];
  for (const { name, value } of facts) {
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    text.textContent = value;
    $("facts").append(term, text);
  }
  if (model?.filters) {
    $("learned").querySelector("img").src = "/api/model/filters";
    $("learned").hidden = false;
  }
  if (!model) document.querySelector(".pick").hidden = true;
}

show(read());
describe().catch((error) => say(error.message, "bad"));
