// What the server is asked.

/** The answer as JSON; a refusal is an Error with the server's sentence. */
async function asked(path, options) {
  const answer = await fetch(path, options).catch(() => {
    throw new Error("The server does not answer. Is `hebb serve` still running?");
  });
  if (answer.ok) return answer;
  const refusal = await answer.json().catch(() => ({}));
  throw new Error(refusal.error ?? `The server answered with status ${answer.status}.`);
}

const json = async (path, options) => (await asked(path, options)).json();

export const item = (id, form) => `/api/items/${encodeURIComponent(id)}/${form}`;

export const gallery = () => json("/api/gallery");

export const scores = () => json("/api/model/scores");

export const items = (filters, offset, signal) =>
  json(`/api/items?${parameters({ ...filters, offset })}`, { signal });

/** What is like images of the gallery and uploaded files, on average. */
export function search({ ids, files, filters, k, threshold }, signal) {
  const path = `/api/search?${parameters({ id: ids, ...filters, k, threshold })}`;
  if (!files.length) return json(path, { signal });
  const body = new FormData();
  for (const file of files) body.append("image", file);
  return json(path, { method: "POST", body, signal });
}

export const setLabels = (labels) =>
  asked("/api/labels", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(labels),
  });

/** Pairs without those that are not set. */
export function parameters(values) {
  const pairs = Object.entries(values).flatMap(([name, value]) =>
    [value].flat().filter((v) => v != null).map((v) => [name, v]));
  return new URLSearchParams(pairs);
}
