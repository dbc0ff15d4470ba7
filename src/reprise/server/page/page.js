// The page of `reprise serve`: whose past, what is added to it, and what is asked of the server each time it changes.
import { highlightAgain, inWords, onItem, ranksOf, showAnswer, showReasons } from "./answer.js";
import { Newest, Problem, call, eventId, get, keepKey, post } from "./api.js";
import { $, count, nameOf } from "./elements.js";
import { took } from "./latency.js";
import {
  confirmForget, deniedChips, itemRows, quiet, quietAbout, sentence, showPath, showSimilar, tell, userChips,
} from "./panels.js";
import { passTime, showLine } from "./timeline.js";

const FOUND = 5;
const USERS = 12;
const LAST = 200; // events of a user to have at hand
const SIMILAR = 8;
const BEAMS = 8;
const TYPING_MS = 150;

const state = {
  mode: "build",
  user: null,
  built: [], // events of the history that is built, oldest first
  users: [],
  denied: new Map(),
  shown: null, // the answer that stands there: whose it is, and its ranks
  path: false, // whether a continuation stands there
};
const asking = new Newest();
const seeing = new Newest();
const searching = new Newest();
const going = new Newest();
const looking = new Newest();
let adding = Promise.resolve();

const whose = () => (state.mode === "build" ? "build" : `user ${state.user}`);
const asker = () =>
  state.mode === "user"
    ? { user_id: state.user }
    : { events: state.built.map(({ item_id, timestamp, kind }) => (kind ? { item_id, timestamp, kind } : { item_id, timestamp })) };
const somebody = () => state.mode === "build" || state.user !== null;

/** Do something and say what went wrong; what was overtaken by something newer says nothing. */
async function attempt(about, work) {
  try {
    const done = await work();
    quietAbout(about, "reaching");
    return done;
  } catch (problem) {
    if (problem.name === "AbortError") return undefined;
    if (!(problem instanceof Problem)) console.error(problem);
    if (problem.status === 401) askForKey();
    tell(problem, problem.status === 0 ? "reaching" : about);
    return undefined;
  }
}

function askForKey() {
  if (!$("key-form").hidden) return;
  $("key-form").hidden = false;
  $("key").focus();
}

// asking

/** The rules as they are set; null where one cannot be read, which is said beside it. */
function rules() {
  const told = { k: within($("k"), 10), exclude_seen: $("exclude-seen").checked, diversity: $("diversity").valueAsNumber };
  if (state.denied.size) told.deny = [...state.denied.keys()];
  const text = $("filter").value.trim();
  filterFault(null);
  if (!text) return told;
  try {
    told.filter = JSON.parse(text);
  } catch (error) {
    filterFault(`This is not JSON (${error.message}).`);
    return null;
  }
  if (told.filter === null || typeof told.filter !== "object" || Array.isArray(told.filter)) {
    filterFault('A filter is an object: {"column": condition}.');
    return null;
  }
  return told;
}

/** A whole number as the field allows it; the field then shows it. */
function within(field, usual) {
  const given = Math.round(field.valueAsNumber);
  const number = Number.isNaN(given) ? usual : Math.min(Math.max(given, Number(field.min)), Number(field.max));
  if (field.value !== String(number)) field.value = number;
  return number;
}

function filterFault(words) {
  $("filter-error").textContent = words ?? "";
  $("filter").ariaInvalid = String(words !== null);
}

/** Ask what may come next; the list says meanwhile that it is about to change. */
async function ask() {
  const signal = asking.begin();
  $("items").ariaBusy = "true";
  await answer(signal);
  if (!signal.aborted) $("items").ariaBusy = "false";
}

/** At once without reasons, which take longer, and then with them. */
async function answer(signal) {
  if (!somebody()) return showNobody();
  const asked = rules();
  if (asked === null) return undefined;
  const of = whose();
  const body = { ...asker(), ...asked };
  return attempt("asking", async () => {
    try {
      const begin = performance.now();
      const told = await post("v1/recommend", body, signal);
      const ms = performance.now() - begin;
      if (signal.aborted) return;
      took(ms);
      const before = state.shown?.of === of ? state.shown.ranks : null;
      show(of, told, before);
      if (!told.events) return void showReasons(told.items);
      const explained = await post("v1/recommend", { ...body, explain: true }, signal);
      if (!signal.aborted) show(of, explained, before);
    } catch (problem) {
      if (!asked.filter || ![409, 422].includes(problem.status) || !/^(filter|column)/.test(problem.message)) throw problem;
      filterFault([problem.message, problem.hint].filter(Boolean).map(sentence).join(" "));
    }
  });
}

function show(of, answer, before) {
  showAnswer(answer.items, before);
  state.shown = { of, ranks: ranksOf(answer.items) };
  const skipped = answer.skipped ? ` Of the past, ${answer.skipped} could not be read by the model.` : "";
  const words = inWords(answer.items, before) + skipped;
  if ($("news").textContent !== words) $("news").textContent = words;
  $("model").textContent = answer.model_version;
}

function showNobody() {
  showAnswer([], null);
  state.shown = null;
  $("news").textContent = "Choose a user, or type an id.";
}

async function goOn() {
  const signal = going.begin();
  if (!somebody()) return undefined;
  const likeliest = document.querySelector('[name="how"]:checked').value === "beams";
  const choice = likeliest ? { beams: BEAMS } : { seed: within($("seed"), 1) };
  return attempt("going on", async () => {
    const { items } = await post("v1/generate", { ...asker(), length: within($("length"), 5), ...choice }, signal);
    if (signal.aborted) return;
    state.path = true;
    showPath(items, add);
  });
}

async function similar(item) {
  const signal = looking.begin();
  return attempt("similar", async () => {
    const { items } = await post("v1/similar", { item_id: String(item.item_id), k: SIMILAR }, signal);
    if (!signal.aborted) showSimilar(item, items, add);
  });
}

// the past

function line(events, options) {
  showLine(whose(), events, options);
  highlightAgain();
}

async function see() {
  const signal = seeing.begin();
  $("anew").hidden = state.mode === "user" || !state.built.length;
  $("forget").hidden = state.mode === "build" || state.user === null;
  if (state.mode === "build") {
    return line(state.built, { remove, empty: "nothing yet: add an event, and the answer moves" });
  }
  if (state.user === null) return line([], { empty: "nobody is chosen" });
  return attempt("seeing", async () => {
    const told = await get(`v1/users/${encodeURIComponent(state.user)}?last=${LAST}`, signal);
    if (signal.aborted) return;
    const more = Math.max(0, told.state.events + told.state.skipped - told.events.length);
    line(told.events, { more, empty: "nothing is stored of them: add an event, and the answer moves" });
    $("forget").disabled = !told.events.length;
  });
}

/** Everything that goes by the past. */
function changed() {
  const done = [ask(), see()];
  if (state.path) done.push(goOn());
  return Promise.all(done);
}

/** Add an event to the past; one after the other, so that their order is that of the clicks. */
function add(item) {
  const mode = state.mode;
  const user = state.user;
  const kind = $("kind-row").hidden ? null : $("kind").value;
  $("proof").hidden = true;
  adding = adding.then(() => attempt("adding", () => (mode === "build" ? addBuilt(item, kind) : addStored(user, item, kind))));
  return adding;
}

async function addBuilt(item, kind) {
  const timestamp = Math.max(Date.now(), (state.built.at(-1)?.timestamp ?? 0) + 1);
  state.built = [...state.built, { item_id: String(item.item_id), title: item.title, timestamp, kind, value: null }];
  if (state.mode === "build") void changed();
}

async function addStored(user, item, kind) {
  if (user === null) {
    $("user").focus();
    throw new Problem(422, "nobody", "nobody is chosen", "choose a user or type an id, then add");
  }
  const event = { user_id: user, item_id: String(item.item_id), event_id: eventId() };
  if (kind) event.kind = kind;
  const { results } = await post("v1/events", { events: [event] });
  if (results[0].status === "rejected") throw new Problem(422, "rejected", results[0].error);
  if (state.mode === "user" && state.user === user) void changed();
  if (!state.users.includes(user)) await listUsers();
}

function remove(event) {
  const place = state.built.length - 1 - state.built.indexOf(event);
  state.built = state.built.filter((other) => other !== event);
  void changed();
  ($("line").children[Math.min(place, state.built.length - 1)]?.querySelector(".remove") ?? $("search")).focus();
}

// whose past

function setMode(mode) {
  state.mode = mode;
  document.querySelector(`[name="mode"][value="${mode}"]`).checked = true;
  $("user-panel").hidden = mode === "build";
  $("kept").textContent =
    mode === "build" ? "Nothing is stored: the history is told with each question." : "Each event you add is stored in the log.";
  $("kept").classList.toggle("stores", mode === "user");
  $("proof").hidden = true;
  return changed();
}

function choose(user) {
  state.user = user;
  $("user").value = user;
  userChips(state.users, user, choose);
  $("proof").hidden = true;
  return changed();
}

async function listUsers() {
  const told = await attempt("users", () => get(`v1/users?limit=${USERS}`));
  if (!told) return;
  state.users = told.users;
  userChips(state.users, state.user, choose);
}

async function forget() {
  const user = state.user;
  if (!(await confirmForget(user))) return undefined;
  return attempt("forgetting", async () => {
    const told = await call("DELETE", `v1/users/${encodeURIComponent(user)}`);
    $("proof").textContent = `${user} is forgotten, with ${count(told.events_deleted, "event")}. ${sentence(told.proof)}`;
    $("proof").hidden = false;
    $("proof").focus();
    await Promise.all([listUsers(), changed()]);
  });
}

// finding items

async function find() {
  const signal = searching.begin();
  const text = $("search").value;
  return attempt("finding", async () => {
    const { items } = await get(`v1/items?limit=${FOUND}&search=${encodeURIComponent(text)}`, signal);
    if (signal.aborted) return;
    itemRows($("found"), items, add);
    $("none-found").hidden = items.length > 0;
  });
}

async function about() {
  return attempt("model", async () => {
    const told = await get("v1/model");
    $("model").textContent = told.model_version;
    $("filter-help").textContent =
      `Columns: ${told.columns.join(", ")}. For example {"count": {"min": 100}}.`;
    $("kind-row").hidden = told.kinds.length < 2;
    $("kind").replaceChildren(...told.kinds.map((kind) => new Option(kind, kind)));
  });
}

function soon(work) {
  let waiting;
  return () => {
    clearTimeout(waiting);
    waiting = setTimeout(work, TYPING_MS);
  };
}

function listen() {
  for (const radio of document.querySelectorAll('[name="mode"]')) radio.addEventListener("change", () => setMode(radio.value));
  for (const radio of document.querySelectorAll('[name="how"]')) {
    radio.addEventListener("change", () => {
      $("seed-row").hidden = radio.value === "beams";
      if (state.path) void goOn();
    });
  }
  const submit = (id, work) =>
    $(id).addEventListener("submit", (event) => {
      event.preventDefault();
      void work();
    });
  submit("user-form", () => choose($("user").value));
  submit("search-form", find);
  submit("rules", ask);
  submit("path-form", goOn);
  submit("key-form", () => {
    keepKey($("key").value.trim());
    $("key").value = "";
    $("key-form").hidden = true;
    quiet();
    return begin();
  });
  $("search").addEventListener("input", soon(find));
  $("diversity").addEventListener("input", () => ($("diversity-value").value = $("diversity").value));
  $("diversity").addEventListener("input", soon(ask));
  for (const id of ["k", "exclude-seen", "filter"]) $(id).addEventListener("change", ask);
  $("again").addEventListener("click", () => changed());
  $("forget").addEventListener("click", forget);
  $("anew").addEventListener("click", () => {
    state.built = [];
    $("search").focus();
    void changed();
  });
  onItem({ add, similar, deny: (item) => deny(String(item.item_id), nameOf(item)) });
  setInterval(passTime, 15_000);
}

function deny(id, name) {
  state.denied.set(id, name);
  deniedChips(state.denied, allow);
  void ask();
}

function allow(id) {
  state.denied.delete(id);
  deniedChips(state.denied, allow);
  ($("denied").querySelector("button") ?? $("answer")).focus();
  void ask();
}

async function begin() {
  await about();
  if (!$("key-form").hidden) return undefined; // one refusal is enough
  await Promise.all([find(), listUsers()]);
  if (state.users.length && state.user === null && !state.built.length) {
    state.user = state.users[0];
    $("user").value = state.user;
    userChips(state.users, state.user, choose);
    return setMode("user");
  }
  return setMode(state.mode);
}

listen();
void begin();
