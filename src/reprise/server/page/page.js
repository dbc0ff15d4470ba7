// The demo page of `reprise serve`: the history, the events added to it, and the requests after each change.
import { ApiError, LatestRequest, call, eventId, get, post, storeKey } from "./api.js";
import { $, count, nameOf } from "./elements.js";
import { recordLatency } from "./latency.js";
import {
  confirmDeletion, hideError, hideErrorAbout, sentence, showContinuation, showDenied, showError, showItems, showSimilar, showUsers,
} from "./panels.js";
import { describeChanges, highlightAgain, ranksOf, setItemActions, showReasons, showRecommendations } from "./recommendations.js";
import { showTimeline, updateAges } from "./timeline.js";

const RESULTS = 5; // items in the search results
const USERS = 12; // users in the list of the newest
const LOADED_EVENTS = 200; // last events of a user that are loaded
const SIMILAR = 8;
const BEAMS = 8;
const TYPING_MS = 150;

const state = {
  mode: "build", // "user": a stored user; "build": the person's own history
  user: null,
  events: [], // the person's own history, oldest event first
  users: [],
  denied: new Map(),
  shown: null, // owner and ranks of the recommendations on the page
  hasContinuation: false,
};
const requests = {
  recommend: new LatestRequest(),
  user: new LatestRequest(),
  search: new LatestRequest(),
  generate: new LatestRequest(),
  similar: new LatestRequest(),
};
let lastAddition = Promise.resolve();

const owner = () => (state.mode === "build" ? "build" : `user ${state.user}`);
const userContext = () =>
  state.mode === "user"
    ? { user_id: state.user }
    : { events: state.events.map(({ item_id, timestamp, kind }) => (kind ? { item_id, timestamp, kind } : { item_id, timestamp })) };
const hasHistory = () => state.mode === "build" || state.user !== null;

/** Do some work and show its error. A request that a newer one cancelled is not an error. */
async function attempt(topic, work) {
  try {
    const result = await work();
    hideErrorAbout(topic, "connection");
    return result;
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    if (!(error instanceof ApiError)) console.error(error);
    if (error.status === 401) askForKey();
    showError(error, error.status === 0 ? "connection" : topic);
    return undefined;
  }
}

function askForKey() {
  if (!$("key-form").hidden) return;
  $("key-form").hidden = false;
  $("key").focus();
}

// recommendations

/** Return the rules of the form; null if the filter is invalid, which is shown next to it. */
function rules() {
  const result = { k: readInteger($("k"), 10), exclude_seen: $("exclude-seen").checked, diversity: $("diversity").valueAsNumber };
  if (state.denied.size) result.deny = [...state.denied.keys()];
  const text = $("filter").value.trim();
  showFilterError(null);
  if (!text) return result;
  try {
    result.filter = JSON.parse(text);
  } catch (error) {
    showFilterError(`This is not JSON (${error.message}).`);
    return null;
  }
  if (result.filter === null || typeof result.filter !== "object" || Array.isArray(result.filter)) {
    showFilterError('A filter is an object: {"column": condition}.');
    return null;
  }
  return result;
}

/** Return the integer in a field, within its limits, and show it in the field. */
function readInteger(field, fallback) {
  const given = Math.round(field.valueAsNumber);
  const number = Number.isNaN(given) ? fallback : Math.min(Math.max(given, Number(field.min)), Number(field.max));
  if (field.value !== String(number)) field.value = number;
  return number;
}

function showFilterError(text) {
  $("filter-error").textContent = text ?? "";
  $("filter").ariaInvalid = String(text !== null);
}

/** Request recommendations. The list is marked as busy until they are complete. */
async function recommend() {
  const signal = requests.recommend.begin();
  $("items").ariaBusy = "true";
  await requestRecommendations(signal);
  if (!signal.aborted) $("items").ariaBusy = "false";
}

/** Request recommendations first without explanations, which take longer, and then with them. */
async function requestRecommendations(signal) {
  if (!hasHistory()) return showNoUser();
  const given = rules();
  if (given === null) return undefined;
  const currentOwner = owner();
  const body = { ...userContext(), ...given };
  return attempt("recommend", async () => {
    try {
      const start = performance.now();
      const response = await post("v1/recommend", body, signal);
      const ms = performance.now() - start;
      if (signal.aborted) return;
      recordLatency(ms);
      const before = state.shown?.owner === currentOwner ? state.shown.ranks : null;
      show(currentOwner, response, before);
      if (!response.events) return void showReasons(response.items);
      const explained = await post("v1/recommend", { ...body, explain: true }, signal);
      if (!signal.aborted) show(currentOwner, explained, before);
    } catch (error) {
      if (!given.filter || ![409, 422].includes(error.status) || !/^(filter|column)/.test(error.message)) throw error;
      showFilterError([error.message, error.hint].filter(Boolean).map(sentence).join(" "));
    }
  });
}

function show(currentOwner, response, before) {
  showRecommendations(response.items, before);
  state.shown = { owner: currentOwner, ranks: ranksOf(response.items) };
  const skipped = response.skipped ? ` The model could not read ${count(response.skipped, "event")} of the history.` : "";
  const text = describeChanges(response.items, before) + skipped;
  if ($("summary").textContent !== text) $("summary").textContent = text;
  $("model").textContent = response.model_version;
}

function showNoUser() {
  showRecommendations([], null);
  state.shown = null;
  $("summary").textContent = "Choose a user, or enter a user id.";
}

async function generate() {
  const signal = requests.generate.begin();
  if (!hasHistory()) return undefined;
  const usesBeams = document.querySelector('[name="method"]:checked').value === "beams";
  const options = usesBeams ? { beams: BEAMS } : { seed: readInteger($("seed"), 1) };
  return attempt("generate", async () => {
    const { items } = await post("v1/generate", { ...userContext(), length: readInteger($("length"), 5), ...options }, signal);
    if (signal.aborted) return;
    state.hasContinuation = true;
    showContinuation(items, add);
  });
}

async function findSimilar(item) {
  const signal = requests.similar.begin();
  return attempt("similar", async () => {
    const { items } = await post("v1/similar", { item_id: String(item.item_id), k: SIMILAR }, signal);
    if (!signal.aborted) showSimilar(item, items, add);
  });
}

// the history

function updateTimeline(events, options) {
  showTimeline(owner(), events, options);
  highlightAgain();
}

async function loadHistory() {
  const signal = requests.user.begin();
  $("clear").hidden = state.mode === "user" || !state.events.length;
  $("delete").hidden = state.mode === "build" || state.user === null;
  if (state.mode === "build") {
    return updateTimeline(state.events, { remove, emptyText: "no events yet: add one, and the recommendations change" });
  }
  if (state.user === null) return updateTimeline([], { emptyText: "no user is chosen" });
  return attempt("user", async () => {
    const user = await get(`v1/users/${encodeURIComponent(state.user)}?last=${LOADED_EVENTS}`, signal);
    if (signal.aborted) return;
    const more = Math.max(0, user.state.events + user.state.skipped - user.events.length);
    updateTimeline(user.events, { more, emptyText: "no stored events: add one, and the recommendations change" });
    $("delete").disabled = !user.events.length;
  });
}

/** Update everything that depends on the history. */
function historyChanged() {
  const updates = [recommend(), loadHistory()];
  if (state.hasContinuation) updates.push(generate());
  return Promise.all(updates);
}

/** Add an event to the history. Additions run one after the other, so the events are in the order of the clicks. */
function add(item) {
  const mode = state.mode;
  const user = state.user;
  const kind = $("kind-row").hidden ? null : $("kind").value;
  $("proof").hidden = true;
  lastAddition = lastAddition.then(() =>
    attempt("add", () => (mode === "build" ? addToOwnHistory(item, kind) : addToUser(user, item, kind))),
  );
  return lastAddition;
}

async function addToOwnHistory(item, kind) {
  const timestamp = Math.max(Date.now(), (state.events.at(-1)?.timestamp ?? 0) + 1);
  state.events = [...state.events, { item_id: String(item.item_id), title: item.title, timestamp, kind, value: null }];
  if (state.mode === "build") void historyChanged();
}

async function addToUser(user, item, kind) {
  if (user === null) {
    $("user").focus();
    throw new ApiError(422, "no_user", "no user is chosen", "choose a user or enter a user id, then add the event");
  }
  const event = { user_id: user, item_id: String(item.item_id), event_id: eventId() };
  if (kind) event.kind = kind;
  const { results } = await post("v1/events", { events: [event] });
  if (results[0].status === "rejected") throw new ApiError(422, "rejected", results[0].error);
  if (state.mode === "user" && state.user === user) void historyChanged();
  if (!state.users.includes(user)) await loadUsers();
}

function remove(event) {
  const index = state.events.length - 1 - state.events.indexOf(event);
  state.events = state.events.filter((other) => other !== event);
  void historyChanged();
  ($("timeline").children[Math.min(index, state.events.length - 1)]?.querySelector(".remove") ?? $("search")).focus();
}

// the source of the history

function setMode(mode) {
  state.mode = mode;
  document.querySelector(`[name="mode"][value="${mode}"]`).checked = true;
  $("user-panel").hidden = mode === "build";
  $("storage-note").textContent =
    mode === "build" ? "Nothing is stored: each request contains the history." : "Each event that you add is stored.";
  $("storage-note").classList.toggle("stores", mode === "user");
  $("proof").hidden = true;
  return historyChanged();
}

function chooseUser(user) {
  state.user = user;
  $("user").value = user;
  showUsers(state.users, user, chooseUser);
  $("proof").hidden = true;
  return historyChanged();
}

async function loadUsers() {
  const response = await attempt("users", () => get(`v1/users?limit=${USERS}`));
  if (!response) return;
  state.users = response.users;
  showUsers(state.users, state.user, chooseUser);
}

async function deleteUser() {
  const user = state.user;
  if (!(await confirmDeletion(user))) return undefined;
  return attempt("delete", async () => {
    const response = await call("DELETE", `v1/users/${encodeURIComponent(user)}`);
    $("proof").textContent = `${user} was deleted with ${count(response.events_deleted, "event")}. ${sentence(response.proof)}`;
    $("proof").hidden = false;
    $("proof").focus();
    await Promise.all([loadUsers(), historyChanged()]);
  });
}

// items

async function search() {
  const signal = requests.search.begin();
  const text = $("search").value;
  return attempt("search", async () => {
    const { items } = await get(`v1/items?limit=${RESULTS}&search=${encodeURIComponent(text)}`, signal);
    if (signal.aborted) return;
    showItems($("results"), items, add);
    $("no-results").hidden = items.length > 0;
  });
}

async function loadModel() {
  return attempt("model", async () => {
    const model = await get("v1/model");
    $("model").textContent = model.model_version;
    $("filter-help").textContent =
      `Columns: ${model.columns.join(", ")}. For example {"count": {"min": 100}}.`;
    $("kind-row").hidden = model.kinds.length < 2;
    $("kind").replaceChildren(...model.kinds.map((kind) => new Option(kind, kind)));
  });
}

/** Return a function that calls `work` when it was not called again for a short time. */
function debounce(work) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, TYPING_MS);
  };
}

function addListeners() {
  for (const radio of document.querySelectorAll('[name="mode"]')) radio.addEventListener("change", () => setMode(radio.value));
  for (const radio of document.querySelectorAll('[name="method"]')) {
    radio.addEventListener("change", () => {
      $("seed-row").hidden = radio.value === "beams";
      if (state.hasContinuation) void generate();
    });
  }
  const onSubmit = (id, work) =>
    $(id).addEventListener("submit", (event) => {
      event.preventDefault();
      void work();
    });
  onSubmit("user-form", () => chooseUser($("user").value));
  onSubmit("search-form", search);
  onSubmit("rules", recommend);
  onSubmit("path-form", generate);
  onSubmit("key-form", () => {
    storeKey($("key").value.trim());
    $("key").value = "";
    $("key-form").hidden = true;
    hideError();
    return start();
  });
  $("search").addEventListener("input", debounce(search));
  $("diversity").addEventListener("input", () => ($("diversity-value").value = $("diversity").value));
  $("diversity").addEventListener("input", debounce(recommend));
  for (const id of ["k", "exclude-seen", "filter"]) $(id).addEventListener("change", recommend);
  $("refresh").addEventListener("click", () => historyChanged());
  $("delete").addEventListener("click", deleteUser);
  $("clear").addEventListener("click", () => {
    state.events = [];
    $("search").focus();
    void historyChanged();
  });
  setItemActions({ add, similar: findSimilar, deny: (item) => deny(String(item.item_id), nameOf(item)) });
  setInterval(updateAges, 15_000);
}

function deny(id, name) {
  state.denied.set(id, name);
  showDenied(state.denied, allow);
  void recommend();
}

function allow(id) {
  state.denied.delete(id);
  showDenied(state.denied, allow);
  ($("denied").querySelector("button") ?? $("recommendations")).focus();
  void recommend();
}

async function start() {
  await loadModel();
  if (!$("key-form").hidden) return undefined; // the first request was rejected, so the others would be too
  await Promise.all([search(), loadUsers()]);
  if (state.users.length && state.user === null && !state.events.length) {
    state.user = state.users[0];
    $("user").value = state.user;
    showUsers(state.users, state.user, chooseUser);
    return setMode("user");
  }
  return setMode(state.mode);
}

addListeners();
void start();
