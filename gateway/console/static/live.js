/**
 * Keeps a session's page up to date while it is open: the event stream says that something changed, the gateway renders
 * it. Without this module the page reloads itself.
 */

const PAUSE_MS = 800; // between two renderings: progress may come many times a second
const place = /** @type {HTMLElement} */ (document.getElementById("session"));
const session = place.dataset.session;

/** @type {EventSource | null} */
let source = null;
let busy = false;
/** What is to be fetched next: nothing, the live part, or the whole page. @type {"" | "live" | "page"} */
let due = "";
let quarter = -1; // of the progress that was said last
/** Stages that were said, as the first participant came to each. @type {Set<string>} */
const stages = new Set();

/** Say something to whoever listens instead of looking. @param {string} text */
function say(text) {
  const said = document.getElementById("said");
  if (said !== null && said.textContent !== text) said.textContent = text;
}

/** Each stage, and each quarter of the way, is said once.
 * @param {{stage: string | null, iteration: number, of: number}} progress */
function sayProgress({ stage, iteration, of }) {
  if (stage !== null && !stages.has(stage)) {
    stages.add(stage);
    say(stage);
    return;
  }
  if (of === 0) return; // not counted yet
  const now = Math.floor((4 * iteration) / of);
  if (now > quarter) {
    quarter = now;
    say(`${iteration} of ${of}`);
  }
}

/** Put what the gateway rendered in the place of what is shown, and leave the focus where it was.
 * @param {string} id @param {string} html */
function swap(id, html) {
  const shown = document.getElementById(id);
  if (shown === null) return;
  const page = new DOMParser().parseFromString(html, "text/html");
  const fresh = page.getElementById(id) ?? page.body;
  if (fresh.innerHTML.trim() === shown.innerHTML.trim()) return; // a selection, or an open menu, stays
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.id : "";
  shown.replaceChildren(...fresh.childNodes);
  if (focused !== "") document.getElementById(focused)?.focus();
}

async function refresh() {
  if (busy || due === "") return;
  busy = true;
  const whole = due === "page";
  due = "";
  try {
    const answer = await fetch(whole ? location.pathname : `/sessions/${session}/live`);
    if (answer.ok) {
      swap(whole ? "session" : "live", await answer.text());
      if (whole) say(document.querySelector(".standing")?.textContent ?? "");
    }
  } catch {
    due = whole ? "page" : due; // the stream notices as well; it is tried again
  }
  setTimeout(() => {
    busy = false;
    void refresh();
  }, PAUSE_MS);
}

/** @param {string} words */
function tellOfConnection(words) {
  const place = document.getElementById("connection");
  if (place === null) return;
  place.textContent = words;
  place.hidden = words === "";
}

function listen() {
  source = new EventSource(`/v1/sessions/${session}/events`);
  source.addEventListener("open", () => tellOfConnection(""));
  source.addEventListener("error", () => {
    const isRefused = source?.readyState === EventSource.CLOSED; // the login is over; else the browser tries again
    tellOfConnection(isRefused ? "The gateway sends no news any more: load this page again." : LOST);
  });
  source.addEventListener("progress", (event) => {
    sayProgress(JSON.parse(event.data));
    due ||= "live";
    void refresh();
  });
  source.addEventListener("state", (event) => {
    due = "page";
    void refresh();
    if (FINAL.has(JSON.parse(event.data).state)) source?.close(); // else the browser would connect again
  });
}

const LOST = "The connection to the gateway is lost; trying again.";
const FINAL = new Set(["completed", "refused", "cancelled", "failed", "expired"]);
listen();
addEventListener("pagehide", () => source?.close());
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload(); // the browser kept the page, and not its stream
});
