// Requests to the server: errors, the API key, and cancelling of outdated requests.

const KEY = "reprise-key";

/** An error response of the server, or a failure to reach it (status 0). */
export class ApiError extends Error {
  constructor(status, code, message, hint = null) {
    super(message);
    Object.assign(this, { status, code, hint });
  }
}

export const storeKey = (key) => sessionStorage.setItem(KEY, key);

/** Send a request and return the parsed body. Throws an ApiError, or an AbortError if the signal aborts it. */
export async function call(method, path, { body, signal } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers["X-API-Key"] = key;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  let content;
  try {
    response = await fetch(path, {
      method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store",
    });
    content = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (response) {
      const message = `The response with status ${response.status} is not JSON.`;
      throw new ApiError(response.status, "unreadable", message, "Check whether a proxy answers instead of the server.");
    }
    throw new ApiError(0, "unreachable", "The server cannot be reached.", "Check that it is running.");
  }
  if (response.ok) return content;
  // forget a rejected key, unless the user has entered another one meanwhile
  if (response.status === 401 && sessionStorage.getItem(KEY) === key) sessionStorage.removeItem(KEY);
  const { code = "http_error", message = `status ${response.status}`, hint = null } = content.error ?? {};
  throw new ApiError(response.status, code, message, hint);
}

export const get = (path, signal) => call("GET", path, { signal });
export const post = (path, body, signal) => call("POST", path, { body, signal });

/** Cancels the previous request of one kind when a new one begins. */
export class LatestRequest {
  #controller = new AbortController();

  begin() {
    this.#controller.abort();
    this.#controller = new AbortController();
    return this.#controller.signal;
  }
}

/** Return a random event id. If the browser repeats the request, the server stores the event once. */
export function eventId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `page-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
