// The grid of images: drawing, choosing, moving by keyboard.

import { item } from "./api.js";

const node = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text != null) made.textContent = text;
  return made;
};

export class Grid {
  /** `more(id)` is asked for what is like an image, `chose()` told of a changed selection. */
  constructor(list, { more, chose }) {
    Object.assign(this, { list, more, chose, chosen: new Set() });
    list.addEventListener("keydown", (event) => this.key(event));
    list.addEventListener("focusin", ({ target }) => {
      if (target.matches(".open")) this.stop(target);
    });
  }

  clear() {
    this.list.replaceChildren();
  }

  add(found) {
    // The same image by another way comes out as rounding leaves it.
    const rounding = 1e-5 * Math.max(0, ...found.map((hit) => hit.distance ?? 0));
    this.number = (distance) => number(distance < rounding ? 0 : distance);
    for (const hit of found) this.list.append(this.draw(hit));
    const buttons = this.buttons();
    if (!buttons.some((button) => button.tabIndex === 0) && buttons.length) this.stop(buttons[0]);
  }

  draw({ id, label, assigned, distance, duplicates = [] }) {
    const entry = node("li");
    entry.dataset.id = id;
    entry.classList.toggle("chosen", this.chosen.has(id));
    const open = node("button", "open");
    open.type = "button";
    open.tabIndex = -1;
    open.title = id;
    const image = node("img");
    Object.assign(image, { src: item(id, "thumbnail"), alt: "", loading: "lazy", decoding: "async" });
    image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth < 100));
    image.addEventListener("error", () => { image.alt = "image not available"; });
    open.append(image);
    open.addEventListener("click", () => this.more(id));

    const tick = node("label", "tick");
    const box = node("input");
    box.type = "checkbox";
    box.tabIndex = -1;
    box.checked = this.chosen.has(id);
    box.setAttribute("aria-label", `Select ${id}`);
    box.addEventListener("change", () => this.toggle(entry, box.checked));
    tick.append(box);

    const line = node("div", "words");
    const name = node("a");
    Object.assign(name, { href: item(id, "image"), target: "_blank", tabIndex: -1 });
    name.title = `Open ${id}`;
    line.append(name);
    if (distance != null) line.append(node("span", "distance", this.number(distance)));
    entry.append(open, tick, line);
    if (duplicates.length) entry.append(this.badge(entry, duplicates));
    this.write(entry, label, assigned);
    return entry;
  }

  /** Label, or file name without one, and what a screen reader says. */
  write(entry, label, assigned) {
    Object.assign(entry, { label, assigned });
    const { id } = entry.dataset;
    const name = entry.querySelector(".words a");
    name.textContent = assigned ?? label ?? id.split("/").pop();
    name.className = assigned ? "given" : label ? "" : "soft";
    const words = [assigned ?? label ?? "no label"];
    const distance = entry.querySelector(".distance");
    if (distance) words.push(`distance ${distance.textContent}`);
    const badge = entry.querySelector(".count");
    if (badge) words.push(badge.title);
    entry.querySelector(".open").setAttribute("aria-label", `${id}, ${words.join(", ")}. More like this`);
  }

  /** Counts the near duplicates collapsed into an image; shows and hides them. */
  badge(entry, duplicates) {
    const badge = node("button", "count");
    badge.type = "button";
    badge.tabIndex = -1;
    badge.title = `${duplicates.length} near duplicate${duplicates.length === 1 ? "" : "s"}`;
    let shown = [];
    const write = () => {
      badge.textContent = `${shown.length ? "\u2212" : "+"}${duplicates.length}`;
      badge.setAttribute("aria-label", `${shown.length ? "Hide" : "Show"} ${badge.title}`);
      badge.setAttribute("aria-expanded", String(shown.length > 0));
    };
    badge.addEventListener("click", () => {
      if (shown.length) {
        for (const twin of shown) twin.remove();
        shown = [];
      } else {
        shown = duplicates.map((twin) => this.draw(twin));
        for (const twin of shown) twin.classList.add("twin");
        entry.after(...shown);
      }
      write();
    });
    write();
    return badge;
  }

  toggle(entry, on) {
    this.chosen[on ? "add" : "delete"](entry.dataset.id);
    entry.classList.toggle("chosen", on);
    entry.querySelector("input").checked = on;
    this.chose();
  }

  chooseAll() {
    for (const entry of this.list.children) this.toggle(entry, true);
  }

  unchoose() {
    for (const entry of this.list.querySelectorAll(".chosen")) {
      entry.classList.remove("chosen");
      entry.querySelector("input").checked = false;
    }
    this.chosen.clear();
    this.chose();
  }

  /** Shows a label just given, or none where it was taken away. */
  relabel(assigned) {
    for (const entry of this.list.querySelectorAll(".chosen")) this.write(entry, entry.label, assigned);
  }

  buttons() {
    return [...this.list.querySelectorAll(".open")];
  }

  focus() {
    this.list.querySelector('.open[tabindex="0"]')?.focus();
  }

  /** One image at a time is in the order of Tab; arrow keys lead to the others. */
  stop(button) {
    for (const other of this.list.querySelectorAll('.open[tabindex="0"]')) other.tabIndex = -1;
    button.tabIndex = 0;
  }

  key(event) {
    const at = event.target.closest(".open");
    if (!at || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = this.buttons();
    const columns = getComputedStyle(this.list).gridTemplateColumns.split(" ").length;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const index = all.indexOf(at);
    const entry = at.closest("li");
    let next;
    if (event.key in steps) next = index + steps[event.key];
    else if (event.key === "Home") next = 0;
    else if (event.key === "End") next = all.length - 1;
    else if (event.key === " " || event.key === "x") this.toggle(entry, !this.chosen.has(entry.dataset.id));
    else if (event.key === "o") entry.querySelector(".words a").click();
    else if (event.key === "d") entry.querySelector(".count")?.click();
    else return;
    event.preventDefault();
    all[next]?.focus();
  }
}

/** Three digits that count; what is next to nothing, as a power of ten. */
export const number = (value) =>
  value && value < 0.001 ? value.toExponential(0) : Number(value.toPrecision(3)).toString();
