// Headless Chromium over the DevTools protocol: its pipe, so no port and no package.

import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";

const KEYS = { ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40, Enter: 13, Tab: 9, " ": 32, Escape: 27, "/": 191 };
const CODES = { "/": "Slash", " ": "Space" };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A page in a browser of its own. */
export class Page {
  /** Errors of scripts, and what the browser logs as one. */
  complaints = [];
  /** Addresses that the page has asked for. */
  requests = [];
  #waiting = new Map();
  #number = 0;

  /** `profile` and `downloads` are scratch folders; pictures go into `pictures`, if given. */
  static async open({ chromium, profile, downloads, pictures }) {
    const page = new Page();
    page.pictures = pictures;
    page.browser = spawn(chromium, ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
      "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
      `--user-data-dir=${profile}`, "about:blank"],
    { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    page.#listen(page.browser.stdio[4]);
    const { targetId } = await page.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await page.send("Target.attachToTarget", { targetId, flatten: true });
    page.session = sessionId;
    for (const domain of ["Page", "Runtime", "Log", "DOM", "Network"]) await page.send(`${domain}.enable`);
    await page.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: downloads });
    return page;
  }

  close() {
    this.browser.kill();
  }

  #listen(output) {
    let rest = Buffer.alloc(0);
    output.on("data", (data) => {
      rest = Buffer.concat([rest, data]);
      for (let end; (end = rest.indexOf(0)) >= 0; rest = rest.subarray(end + 1)) {
        this.#take(JSON.parse(rest.subarray(0, end)));
      }
    });
  }

  #take({ id, error, result, method, params }) {
    if (id) {
      const { resolve, reject } = this.#waiting.get(id);
      if (error) reject(new Error(error.message));
      else resolve(result);
    } else if (method === "Runtime.exceptionThrown") {
      this.complaints.push(params.exceptionDetails.exception?.description);
    } else if (method === "Log.entryAdded" && params.entry.level === "error") {
      this.complaints.push(params.entry.text);
    } else if (method === "Network.requestWillBeSent") {
      this.requests.push(params.request.url);
    }
  }

  send(method, params = {}) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(++this.#number, { resolve, reject });
      const message = { id: this.#number, method, params, sessionId: this.session };
      this.browser.stdio[3].write(`${JSON.stringify(message)}\0`);
    });
  }

  /** The value of an expression in the page. */
  async run(expression) {
    const options = { expression, returnByValue: true, awaitPromise: true, userGesture: true };
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", options);
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
    return result.value;
  }

  async until(expression, what = expression) {
    for (const begun = Date.now(); Date.now() - begun < 60_000;) {
      // While a page is being left, the next one has nothing yet.
      if (await this.run(expression).catch(() => false)) return;
      await pause(50);
    }
    throw new Error(`never: ${what}; status: ${await this.run("document.getElementById('status')?.textContent")}`);
  }

  go(url) {
    return this.send("Page.navigate", { url });
  }

  async key(name) {
    const text = name === "Enter" ? "\r" : name.length === 1 ? name : undefined;
    const windowsVirtualKeyCode = KEYS[name] ?? name.toUpperCase().charCodeAt(0);
    const event = { key: name, code: CODES[name] ?? name, text, windowsVirtualKeyCode };
    await this.send("Input.dispatchKeyEvent", { type: text ? "keyDown" : "rawKeyDown", ...event });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...event, text: undefined });
  }

  /** Presses Tab until what has the focus matches. */
  async tabTo(selector) {
    for (let presses = 0; presses < 20; presses += 1) {
      if (await this.run(`document.activeElement.matches(${JSON.stringify(selector)})`)) return;
      await this.key("Tab");
    }
    throw new Error(`Tab never leads to ${selector}`);
  }

  type(text) {
    return this.send("Input.insertText", { text });
  }

  /** The middle of an element, scrolled to. */
  middle(selector, index) {
    return this.run(`{ const e = document.querySelectorAll(${JSON.stringify(selector)})[${index}];
      e.scrollIntoView({ block: "nearest" }); const r = e.getBoundingClientRect();
      ({ x: r.x + r.width / 2, y: r.y + r.height / 2 }); }`);
  }

  /** Clicks as a mouse does. */
  async click(selector, index = 0) {
    const event = { ...(await this.middle(selector, index)), button: "left", clickCount: 1 };
    for (const type of ["mouseMoved", "mousePressed", "mouseReleased"]) {
      await this.send("Input.dispatchMouseEvent", { type, ...event });
    }
  }

  /** Chooses files as a dialog does. */
  async choose(selector, files) {
    const { root } = await this.send("DOM.getDocument");
    const { nodeId } = await this.send("DOM.querySelector", { nodeId: root.nodeId, selector });
    await this.send("DOM.setFileInputFiles", { nodeId, files });
  }

  /** Drops files as a mouse does. */
  async drop(selector, files) {
    const data = { items: [], files, dragOperationsMask: 1 };
    const place = await this.middle(selector, 0);
    for (const type of ["dragEnter", "dragOver", "drop"]) {
      await this.send("Input.dispatchDragEvent", { type, ...place, data });
    }
  }

  screen(width, height, mobile = false) {
    return this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile });
  }

  dark(on) {
    const features = on ? [{ name: "prefers-color-scheme", value: "dark" }] : [];
    return this.send("Emulation.setEmulatedMedia", { features });
  }

  async picture(name) {
    if (!this.pictures) return;
    // Until what is to be seen has been loaded.
    await this.run(`Promise.all([...document.images]
      .filter((i) => !i.complete && i.getBoundingClientRect().top < innerHeight)
      .map((i) => new Promise((r) => { i.onload = i.onerror = r; setTimeout(r, 5000); })))`);
    await pause(200);
    const { data } = await this.send("Page.captureScreenshot", { format: "png" });
    writeFileSync(`${this.pictures}/${name}.png`, Buffer.from(data, "base64"));
  }
}
