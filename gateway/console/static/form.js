/** Small conveniences of the proposal's pages; all of them work without. */

/** A button that copies a text, shown where the browser can. */
for (const button of document.querySelectorAll("button[data-copies]")) {
  if (!(button instanceof HTMLButtonElement) || !("clipboard" in navigator)) continue;
  const text = document.getElementById(button.dataset.copies ?? "")?.textContent ?? "";
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  });
}

/** All columns of a party at once. */
for (const columns of document.querySelectorAll("fieldset.columns")) {
  const boxes = () => /** @type {NodeListOf<HTMLInputElement>} */ (columns.querySelectorAll("input[type=checkbox]"));
  if (boxes().length < 2) continue;
  const line = document.createElement("p");
  for (const [words, checked] of /** @type {[string, boolean][]} */ ([["all", true], ["none", false]])) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = words;
    button.addEventListener("click", () => boxes().forEach((box) => (box.checked = checked)));
    line.append(button, " ");
  }
  columns.querySelector("legend")?.after(line);
}

/** Complaints are read first. */
const wrong = document.getElementById("wrong");
if (wrong !== null) {
  wrong.tabIndex = -1;
  wrong.focus();
}
