/**
 * Signed notes, checkpoints and proofs of a log, checked by the browser itself: Ed25519 and SHA-256 of WebCrypto, RFC
 * 6962's tree. What is written otherwise than it would be written again is refused, as `privity audit verify` does.
 *
 * @typedef {{name: string, blob: Uint8Array}} Signature  key id (4 bytes) and signature proper
 * @typedef {{text: string, signatures: Signature[]}} Note
 * @typedef {{origin: string, size: bigint, root: Uint8Array}} Checkpoint
 * @typedef {{origin: string, key: Uint8Array, content: Uint8Array, index: bigint, hashes: Uint8Array[], note: Note}} Proof
 */

const SIGNS_NOTE = 0x01;
const COSIGNS = 0x04;
const KEY_ID_BYTES = 4;
const TIME_BYTES = 8;
const HASH_BYTES = 32;
const KEY_BYTES = 32;
const MOST_CHARACTERS = 100_000; // of a note
const MOST_SIGNATURES = 100;
const MOST_SECONDS = 253_402_300_799n; // the year 9999
export const MOST_BYTES = 2 * 65_535 + 2 * MOST_CHARACTERS; // of a proof's file
export const PROOF = "c2sp.org/tlog-proof@v1";

/** What does not hold, in words for people. */
export class Wrong extends Error {}

/** Whether this browser, on this page, can check signatures at all: it needs a secure context and Ed25519. */
export async function isAble() {
  try {
    await crypto.subtle.importKey("raw", new Uint8Array(KEY_BYTES), "Ed25519", false, ["verify"]);
    return true;
  } catch {
    return false;
  }
}

/** @param {Uint8Array[]} parts */
function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** @param {string} text */
const utf8 = (text) => new TextEncoder().encode(text);

/** @param {Uint8Array} content */
async function sha256(content) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", content));
}

/** @param {Uint8Array} one @param {Uint8Array} other */
export function same(one, other) {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

/** @param {Uint8Array} content */
export function toHex(content) {
  return [...content].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {string} text */
export function fromHex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** The one way to write these bytes in base64, or null. @param {string} text */
function fromBase64(text) {
  try {
    const letters = atob(text);
    return btoa(letters) === text ? Uint8Array.from(letters, (letter) => letter.charCodeAt(0)) : null;
  } catch {
    return null;
  }
}

/** @param {Uint8Array} content */
function toBase64(content) {
  return btoa(String.fromCharCode(...content));
}

/** A key's name for people: ten groups of four digits. @param {Uint8Array} key */
export async function fingerprint(key) {
  const digits = toHex(await sha256(joined(utf8("privity identity\n"), key))).slice(0, 40);
  return (digits.match(/.{4}/g) ?? []).join("-");
}

/** @param {Uint8Array} key @param {Uint8Array} signature @param {Uint8Array} content */
async function isSignature(key, signature, content) {
  const imported = await crypto.subtle.importKey("raw", key, "Ed25519", false, ["verify"]);
  return crypto.subtle.verify("Ed25519", imported, signature, content);
}

/** @param {string} name @param {Uint8Array} key @param {number} kind */
async function keyId(name, key, kind) {
  return (await sha256(joined(utf8(name), utf8("\n"), Uint8Array.of(kind), key))).slice(0, KEY_ID_BYTES);
}

/** @param {string} content @returns {Note} */
export function parseNote(content) {
  const gap = content.lastIndexOf("\n\n");
  const text = content.slice(0, gap + 1);
  const lines = content.slice(gap + 2).replace(/\n$/, "").split("\n");
  const signatures = [];
  for (const line of lines) {
    const found = /^— ([^\s+\u0085]+) ([A-Za-z0-9+/]+={0,2})$/.exec(line);
    const blob = found && fromBase64(found[2]);
    if (found && blob) signatures.push({ name: found[1], blob });
  }
  const again = `${text}\n${signatures.map(({ name, blob }) => `— ${name} ${toBase64(blob)}\n`).join("")}`;
  const plain = !/[\u0000-\u0009\u000b-\u001f]/.test(content);
  const bounded = content.length <= MOST_CHARACTERS && lines.length <= MOST_SIGNATURES;
  if (gap < 0 || !bounded || !plain || signatures.length === 0 || again !== content)
    throw new Wrong("this is not a signed note");
  return { text, signatures };
}

/** @param {string} text @returns {Checkpoint} */
export function parseCheckpoint(text) {
  const [origin, size, root, rest, ...more] = text.split("\n");
  const hash = root === undefined ? null : fromBase64(root);
  const fits = /^[a-z0-9][a-z0-9._/-]{0,127}$/.test(origin) && /^(0|[1-9][0-9]{0,15})$/.test(size ?? "");
  if (!fits || hash?.length !== HASH_BYTES || rest !== "" || more.length > 0)
    throw new Wrong("this note is not the head of a log of Privity");
  return { origin, size: BigInt(size), root: hash };
}

/** Whether this key signed the note under this name. @param {Note} note @param {string} name @param {Uint8Array} key */
export async function isSignedBy(note, name, key) {
  const id = await keyId(name, key, SIGNS_NOTE);
  for (const each of note.signatures) {
    if (each.name !== name || !same(each.blob.slice(0, KEY_ID_BYTES), id)) continue;
    if (await isSignature(key, each.blob.slice(KEY_ID_BYTES), utf8(note.text))) return true;
  }
  return false;
}

/** When this key cosigned the note, or null. @param {Note} note @param {string} name @param {Uint8Array} key */
export async function cosignedBy(note, name, key) {
  const id = await keyId(name, key, COSIGNS);
  for (const each of note.signatures) {
    const rest = each.blob.slice(KEY_ID_BYTES);
    if (each.name !== name || !same(each.blob.slice(0, KEY_ID_BYTES), id) || rest.length < TIME_BYTES) continue;
    const seconds = BigInt(`0x${toHex(rest.slice(0, TIME_BYTES))}`);
    const said = utf8(`cosignature/v1\ntime ${seconds}\n${note.text}`);
    if (seconds <= MOST_SECONDS && (await isSignature(key, rest.slice(TIME_BYTES), said)))
      return new Date(1000 * Number(seconds));
  }
  return null;
}

/** A log's name and key, written on one line as C2SP does. @param {string} line */
async function parseVerifierKey(line) {
  const [name, id, ...rest] = line.split("+");
  const key = fromBase64(rest.join("+"));
  if (key?.length !== KEY_BYTES + 1 || key[0] !== SIGNS_NOTE) return null;
  const proper = key.slice(1);
  return toHex(await keyId(name, proper, SIGNS_NOTE)) === id ? { origin: name, key: proper } : null;
}

/** @param {string} text @returns {Promise<Proof>} */
export async function parseProof(text) {
  const form =
    /^c2sp\.org\/tlog-proof@v1\nextra (\S+)\nindex (0|[1-9][0-9]{0,15})\n((?:\S+\n){0,63})\n([^]*)$/.exec(text);
  const extra = form && fromBase64(form[1]);
  const gap = extra ? extra.indexOf(0x0a) : -1;
  if (!form || !extra || gap < 0) throw new Wrong("this is not a proof as `privity audit prove` writes it");
  const signer = await parseVerifierKey(new TextDecoder().decode(extra.slice(0, gap)));
  const hashes = form[3].split("\n").slice(0, -1).map(fromBase64);
  const whole = hashes.filter((hash) => hash !== null && hash.length === HASH_BYTES);
  if (signer === null || whole.length !== hashes.length)
    throw new Wrong("this is not a proof as `privity audit prove` writes it");
  const content = extra.slice(gap + 1);
  return { ...signer, content, index: BigInt(form[2]), hashes: whole, note: parseNote(form[4]) };
}

/** @param {Uint8Array} left @param {Uint8Array} right */
const nodeHash = (left, right) => sha256(joined(Uint8Array.of(1), left, right));

/** Whether the hashes lead from a leaf's content at this index to the root of a tree of this size.
 * @param {Checkpoint} head @param {Uint8Array} content @param {bigint} index @param {Uint8Array[]} hashes */
export async function includes(head, content, index, hashes) {
  if (index >= head.size) return false;
  let node = index;
  let last = head.size - 1n;
  let at = await sha256(joined(Uint8Array.of(0), content));
  for (const sibling of hashes) {
    if (last === 0n) return false; // longer than the tree is high
    if (node & 1n || node === last) {
      at = await nodeHash(sibling, at);
      while (!(node & 1n) && node) {
        node >>= 1n;
        last >>= 1n;
      }
    } else {
      at = await nodeHash(at, sibling);
    }
    node >>= 1n;
    last >>= 1n;
  }
  return last === 0n && same(at, head.root);
}

/** JSON with sorted keys and no spaces: how entries are written. @param {unknown} value @returns {string} */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const fields = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return `{${fields.map(([name, each]) => `${JSON.stringify(name)}:${canonical(each)}`).join(",")}}`;
}

/** The entry that a proof is about. @param {Proof} proof
 * @returns {{id: string, source: string, time: string, type: string, data: Record<string, unknown>}} */
export function entryOf(proof) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(proof.content);
    const entry = JSON.parse(text);
    if (canonical(entry) !== text) throw new Wrong("not canonical");
    return entry;
  } catch {
    throw new Wrong(`entry ${proof.index} is not written as entries of a log are`);
  }
}

/** Follow a proof from the entry to the signed head. Throws Wrong with the first thing that does not hold.
 * @param {Proof} proof */
export async function checkProof(proof) {
  const head = parseCheckpoint(proof.note.text);
  if (!(await isSignedBy(proof.note, proof.origin, proof.key)))
    throw new Wrong("its head is not signed by the log’s key");
  if (head.origin !== proof.origin) throw new Wrong(`its head is of ${head.origin}, its key of ${proof.origin}`);
  const entry = entryOf(proof);
  if (entry.id !== String(proof.index) || entry.source !== proof.origin)
    throw new Wrong(`entry ${proof.index} was written as entry ${entry.id} of ${entry.source}`);
  if (!(await includes(head, proof.content, proof.index, proof.hashes)))
    throw new Wrong(`entry ${proof.index} is not in the log of its head: the hashes do not lead there`);
  return { head, entry };
}
