// The server, as this page calls it: one shape of error, a key where one is asked for, and only the newest question counts.

const KEY = "reprise-key";

/** What the server says is wrong. */
export class Problem extends Error {
  constructor(status, code, message, hint = null) {
    super(message);
    Object.assign(this, { status, code, hint });
  }
}

export const keepKey = (key) => sessionStorage.setItem(KEY, key);

/** What the server answers. Raises a Problem, or an AbortError where the signal says so. */
export async function call(method, path, { body, signal } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers["X-API-Key"] = key;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  let told;
  try {
    answer = await fetch(path, {
      method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store",
    });
    told = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (answer) throw new Problem(answer.status, "unreadable", `The answer of status ${answer.status} is not JSON.`, "Is something else in between?");
    throw new Problem(0, "unreachable", "The server cannot be reached.", "Is it still running?");
  }
  if (answer.ok) return told;
  // a key that the server does not know is not asked with again; another may have been typed in between
  if (answer.status === 401 && sessionStorage.getItem(KEY) === key) sessionStorage.removeItem(KEY);
  const { code = "http", message = `status ${answer.status}`, hint = null } = told.error ?? {};
  throw new Problem(answer.status, code, message, hint);
}

export const get = (path, signal) => call("GET", path, { signal });
export const post = (path, body, signal) => call("POST", path, { body, signal });

/** Of questions of one sort only the newest is answered: each one that begins ends the one before. */
export class Newest {
  #controller = new AbortController();

  begin() {
    this.#controller.abort();
    this.#controller = new AbortController();
    return this.#controller.signal;
  }
}

/** An id of an event: sent twice by a browser that tries again, it is one event. */
export function eventId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `page-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
