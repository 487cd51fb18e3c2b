// What the pages ask of /v1, and what it tells them.

const KEY = "tandem-key";
const NAME = "tandem-name";

/** The API key, which is gone with the tab. */
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  /** Who signed in for it; nobody where it was typed. */
  name: () => sessionStorage.getItem(NAME) ?? "",
  set: (value, name = "") => {
    sessionStorage.setItem(KEY, value);
    sessionStorage.setItem(NAME, name);
  },
  forget: () => [KEY, NAME].forEach((one) => sessionStorage.removeItem(one)),
};

/** An answer that is no success, as RFC 9457 has it. */
export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail ?? body?.title ?? `the node answered ${status}`);
    this.status = status;
    this.reasons = body?.errors ?? [];
  }
}

function headers(more = {}) {
  return { authorization: `Bearer ${key.get()}`, ...more };
}

/** What the API answers: its body, and the tag of its state. */
export async function ask(method, path, body, tag) {
  const more = {};
  if (body !== undefined) more["content-type"] = "application/json";
  if (tag) more["if-match"] = tag;
  const answer = await fetch(path, { method, headers: headers(more), body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  const read = text && answer.headers.get("content-type")?.includes("json") ? JSON.parse(text) : null;
  if (!answer.ok) throw new Problem(answer.status, read);
  return { body: read, tag: answer.headers.get("etag") };
}

export async function get(path, query = {}) {
  const wanted = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const search = new URLSearchParams(wanted);
  return (await ask("GET", search.size ? `${path}?${search}` : path)).body;
}

/** Each item of a list, page after page, `most` at most. */
export async function all(path, query = {}, most = 10_000) {
  const items = [];
  let cursor = null;
  do {
    const page = await get(path, { ...query, limit: 1000, cursor });
    items.push(...page.items);
    cursor = page.next;
  } while (cursor && items.length < most);
  return items;
}

/** Saves what a path streams as a file. */
export async function save(path, name) {
  const answer = await fetch(path, { headers: headers() });
  if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => null));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

/**
 * Hears events for as long as the page is there, and goes on where it was when the connection was lost.
 * EventSource cannot show a key, so the stream is read here.
 */
export async function listen(hear, tell) {
  let last = null;
  let pause = 500;
  for (;;) {
    try {
      const more = last ? { "last-event-id": last } : {};
      const answer = await fetch("/v1/events", { headers: headers(more) });
      if (answer.status === 401 || answer.status === 403) {
        tell("refused");
        return;
      }
      if (!answer.ok) throw new Problem(answer.status, null);
      tell("live");
      pause = 500;
      let rest = "";
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const data = block.split("\n").filter((one) => one.startsWith("data:")).map((one) => one.slice(5).trim());
          if (!data.length) continue;
          const event = JSON.parse(data.join("\n"));
          last = event.id;
          hear(event);
        }
      }
    } catch {
      // The node is away, or the network is: it is tried again.
    }
    tell("away");
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, 10_000);
  }
}
