/** The audit page: this browser checks the heads that are shown, and files that an officer chooses. Nothing leaves it. */

import * as audit from "./verify.js";

/** @typedef {{name: string, key: Uint8Array, heads: string[], place: HTMLElement}} Log */

/** What the page shows of each log. @returns {Log[]} */
function logs() {
  return [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-log]"))].map((place) => ({
    name: place.dataset.log ?? "",
    key: audit.fromHex(place.dataset.key ?? ""),
    heads: [...place.querySelectorAll("pre.note")].map((note) => note.textContent ?? ""),
    place,
  }));
}

const shown = logs();
const drop = /** @type {HTMLElement} */ (document.getElementById("drop"));
const verdict = /** @type {HTMLElement} */ (document.getElementById("verdict"));
const typed = /** @type {HTMLInputElement} */ (document.getElementById("fingerprint"));

/** A line of a verdict. @param {string} kind @param {string} text */
function line(kind, text) {
  const item = document.createElement("li");
  item.className = kind;
  item.textContent = text;
  return item;
}

/** @param {Date} moment */
const told = (moment) => `${moment.toISOString().slice(0, 19).replace("T", " ")} UTC`;

/** Who of those shown cosigned a note, and when; a line that claims to be theirs and is not is wrong.
 * @param {audit.Note} note @param {string} origin */
async function cosigners(note, origin) {
  const found = [];
  for (const name of new Set(note.signatures.map((each) => each.name))) {
    const one = shown.find((each) => each.name === name);
    if (name === origin) continue;
    if (one === undefined) {
      found.push(line("asks", `A line of ${name} is not judged: no key of it is shown here.`));
      continue;
    }
    const moment = await audit.cosignedBy(note, name, one.key);
    if (moment === null) throw new audit.Wrong(`the cosignature of ${name} is not by the key shown for it`);
    found.push(line("holds", `Cosigned by ${name} at ${told(moment)}: it had seen no other history of this log.`));
  }
  return found;
}

/** @param {string} content @param {Log} log */
async function headLines(content, log) {
  const note = audit.parseNote(content);
  const head = audit.parseCheckpoint(note.text);
  if (head.origin !== log.name) throw new audit.Wrong(`a head of ${head.origin} stands in its place`);
  if (!(await audit.isSignedBy(note, log.name, log.key)))
    throw new audit.Wrong(`a head over ${head.size} entries is not signed by the key shown`);
  const lines = [line("holds", `The head over ${head.size} entries is signed by the key shown.`)];
  return { head, lines: [...lines, ...(await cosigners(note, log.name))] };
}

/** Check what the page shows of one log. @param {Log} log */
async function checkLog(log) {
  const place = /** @type {HTMLElement} */ (log.place.querySelector(".verdict"));
  try {
    const checked = [];
    for (const content of log.heads) checked.push(await headLines(content, log));
    for (const { head } of checked)
      for (const { head: other } of checked)
        if (head.size === other.size && !audit.same(head.root, other.root))
          throw new audit.Wrong(`two heads over ${head.size} entries differ: the log was written anew`);
    place.replaceChildren(...checked.flatMap(({ lines }) => lines));
    place.dataset.verdict = "verified";
  } catch (error) {
    place.replaceChildren(line("refuses", `NOT VERIFIED: ${words(error)}.`));
    place.dataset.verdict = "wrong";
  }
}

/** @param {unknown} error */
const words = (error) => (error instanceof audit.Wrong ? error.message : `this browser could not check it (${error})`);

/** The key that a file names, held against what is shown and what was typed. @param {string} origin @param {Uint8Array} key */
async function keyLine(origin, key) {
  const print = await audit.fingerprint(key);
  const wanted = typed.value.toLowerCase().replace(/[^0-9a-f]/g, "");
  if (typed.value.trim() !== "" && wanted !== print.replaceAll("-", ""))
    throw new audit.Wrong(`it is signed by the key ${print}, not by the one that you typed`);
  if (wanted !== "") return line("holds", `The key of ${origin} has the fingerprint that you typed: ${print}.`);
  const known = shown.find((each) => each.name === origin);
  if (known !== undefined && !audit.same(known.key, key))
    throw new audit.Wrong(`it is signed by the key ${print}, which is not the one shown for ${origin}`);
  return line("asks", `The key of ${origin} has the fingerprint ${print}. Ask ${origin} for it over the phone.`);
}

/** A head that is shown of the same log and size must be the same. @param {audit.Checkpoint} head */
function compare(head) {
  for (const log of shown.filter((each) => each.name === head.origin))
    for (const content of log.heads) {
      const other = audit.parseCheckpoint(audit.parseNote(content).text);
      if (other.size === head.size && !audit.same(other.root, head.root))
        throw new audit.Wrong(`its head differs from the one shown here over ${head.size} entries: the log was forked`);
    }
}

/** @param {string} text */
async function proofLines(text) {
  const proof = await audit.parseProof(text);
  const key = await keyLine(proof.origin, proof.key);
  const { head, entry } = await audit.checkProof(proof);
  compare(head);
  const data = Object.entries(entry.data).map(([name, value]) => `${name} ${JSON.stringify(value)}`);
  return [
    key,
    line("holds", `The log’s head over ${head.size} entries is signed by that key.`),
    line("holds", `Entry ${proof.index} is in that log: ${proof.hashes.length} hashes lead from it to the head.`),
    line("holds", `The entry: ${entry.type} at ${entry.time}; ${data.join(", ") || "no fields"}.`),
    ...(await cosigners(proof.note, proof.origin)),
  ];
}

/** @param {string} text */
async function noteLines(text) {
  const head = audit.parseCheckpoint(audit.parseNote(text).text);
  const log = shown.find((each) => each.name === head.origin);
  if (log === undefined) throw new audit.Wrong(`it is a head of ${head.origin}, of which no key is shown here`);
  compare(head);
  return [await keyLine(log.name, log.key), ...(await headLines(text, log)).lines];
}

/** Check a file that was chosen or dropped. @param {File} file */
async function checkFile(file) {
  verdict.replaceChildren(line("", `Checking ${file.name} …`));
  delete verdict.dataset.verdict;
  try {
    if (file.size > audit.MOST_BYTES) throw new audit.Wrong("it is larger than any proof");
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await file.arrayBuffer());
    const lines = text.startsWith(audit.PROOF) ? await proofLines(text) : await noteLines(text);
    verdict.replaceChildren(line("holds", `${file.name}: VERIFIED in this browser.`), ...lines);
    verdict.dataset.verdict = "verified";
  } catch (error) {
    const what = error instanceof TypeError ? "it is not text" : words(error);
    verdict.replaceChildren(line("refuses", `${file.name}: NOT VERIFIED: ${what}.`));
    verdict.dataset.verdict = "wrong";
  }
}

if (await audit.isAble()) {
  drop.hidden = false;
  await Promise.all(shown.map(checkLog));
} else {
  const why = "This browser can’t check Ed25519 signatures here: use a current one, at http://127.0.0.1 or by https.";
  for (const log of shown) log.place.querySelector(".verdict")?.replaceChildren(line("asks", why));
  verdict.replaceChildren(line("asks", why));
}

const chooser = /** @type {HTMLInputElement} */ (document.getElementById("proof"));
chooser.addEventListener("change", () => {
  const [file] = chooser.files ?? [];
  if (file) void checkFile(file);
  chooser.value = ""; // the same file, chosen again, is checked again
});
drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const [file] = event.dataTransfer?.files ?? [];
  if (file) void checkFile(file);
});
