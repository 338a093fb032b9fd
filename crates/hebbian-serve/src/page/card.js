// The gallery in words: its size, its labels, the card of its model.

import * as api from "./api.js";

const $ = (id) => document.getElementById(id);
const node = (name, text) => {
  const made = document.createElement(name);
  if (text != null) made.textContent = text;
  return made;
};
const many = (n) => n.toLocaleString("en");
const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** What the label filter calls images without one. */
export const NONE = "";

/** Says what is searched; the generation of the gallery that this is about. */
export async function describe(label) {
  const { images, dim, layer, labels, unlabelled, given, model, created, generation } = await api.gallery();
  $("about").textContent = `${many(images)} images, ${many(dim)} features of ${layer}`;
  const option = (text, value) => {
    const made = node("option", text);
    made.value = value;
    return made;
  };
  const options = labels.map(({ label, count }) => option(`${label} (${many(count)})`, `=${label}`));
  if (labels.length && unlabelled) options.unshift(option(`no label (${many(unlabelled)})`, `=${NONE}`));
  $("label").replaceChildren(option("any", ""), ...options);
  $("label").value = label == null ? "" : `=${label}`;
  $("label").closest("label").hidden = !labels.length;
  $("labels").replaceChildren(...labels.map(({ label }) => option(undefined, label)));
  $("download").textContent = `Download ${many(given)} label${given === 1 ? "" : "s"}`;
  $("download").hidden = !given;
  const facts = [...(model?.facts ?? [{ name: "Model", value: "none; images of the gallery can be searched with" }]),
    { name: "Features", value: `${layer}, ${many(dim)} numbers an image` },
    { name: "Gallery", value: `${many(images)} images, begun ${created.slice(0, 10)}` }];
  $("facts").replaceChildren(...facts.flatMap(({ name, value }) => [node("dt", name), node("dd", value)]));
  $("learned").hidden = !model?.filters;
  document.querySelector(".pick").hidden = !model;
  return generation;
}

/** Opens the card; scores and filters are asked for only now. */
export async function openCard() {
  if (!$("learned").hidden) $("learned").querySelector("img").src = "/api/model/filters";
  $("card").showModal();
  $("scores").replaceChildren(node("p", "Searching with images that have a label"));
  $("scores").firstChild.className = "busy soft";
  try {
    $("scores").replaceChildren(...draw(await api.scores()));
  } catch (error) {
    $("scores").replaceChildren(node("p", error.message));
  }
}

function draw(scores) {
  if (!scores) {
    return [node("p", "No two images have a label in common yet, so there is nothing to score by.")];
  }
  const { queries, labelled, precision_at_1, precision_at_10, chance } = scores;
  const rows = [["the nearest image", precision_at_1], ["the ten nearest", precision_at_10], ["images by chance", chance]];
  const list = node("dl");
  for (const [what, share] of rows) {
    const value = node("dd", percent(share));
    const bar = node("meter");
    bar.value = share;
    bar.setAttribute("aria-hidden", "true");
    value.prepend(bar);
    list.append(node("dt", what), value);
  }
  const note = `Share with the query's label. ${queries < labelled ? `${many(queries)} of ` : ""}${many(labelled)} images that have a label in common with another were each searched with, and themselves left out.`;
  list.className = "scores";
  const small = node("p", note);
  small.className = "soft";
  return [list, small];
}
