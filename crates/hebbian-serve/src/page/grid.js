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
    const words = [assigned ?? label ?? "no label"];
    if (distance != null) words.push(`distance ${number(distance)}`);
    if (duplicates.length) words.push(`${duplicates.length} near duplicates`);
    open.setAttribute("aria-label", `${id}, ${words.join(", ")}. More like this`);
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
    line.append(node("b", assigned ? "given" : "", assigned ?? label ?? id.split("/").pop()));
    if (distance != null) line.append(node("span", "distance", number(distance)));
    entry.append(open, tick, line);
    if (duplicates.length) {
      const count = node("span", "count", `+${duplicates.length}`);
      count.title = duplicates.map((twin) => twin.id).join("\n");
      entry.append(count);
    }
    return entry;
  }

  toggle(entry, on) {
    this.chosen[on ? "add" : "delete"](entry.dataset.id);
    entry.classList.toggle("chosen", on);
    entry.querySelector("input").checked = on;
    this.chose();
  }

  unchoose() {
    for (const entry of this.list.querySelectorAll(".chosen")) {
      entry.classList.remove("chosen");
      entry.querySelector("input").checked = false;
    }
    this.chosen.clear();
    this.chose();
  }

  /** Shows a label just given. */
  relabel(label) {
    for (const entry of this.list.querySelectorAll(".chosen")) {
      const text = entry.querySelector(".words b");
      text.textContent = label;
      text.className = "given";
    }
  }

  buttons() {
    return [...this.list.querySelectorAll(".open")];
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
    let next;
    if (event.key in steps) next = index + steps[event.key];
    else if (event.key === "Home") next = 0;
    else if (event.key === "End") next = all.length - 1;
    else if (event.key === " " || event.key === "x") {
      const entry = at.closest("li");
      event.preventDefault();
      return this.toggle(entry, !this.chosen.has(entry.dataset.id));
    } else return;
    event.preventDefault();
    all[next]?.focus();
  }
}

/** Three digits that count; what is next to nothing, as a power of ten. */
export const number = (value) =>
  value && value < 0.001 ? value.toExponential(0) : Number(value.toPrecision(3)).toString();
