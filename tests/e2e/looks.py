"""What a browser finds wrong with how a page looks and reads: a script whose value is a list of faults."""

FAULTS = """
const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgba = (colour) => {
  paint.clearRect(0, 0, 1, 1);
  paint.fillStyle = colour;
  paint.fillRect(0, 0, 1, 1);
  return [...paint.getImageData(0, 0, 1, 1).data].map((each) => each / 255);
};
const light = (rgb) => {
  const [r, g, b] = rgb.map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const over = ([r, g, b, a], below) => [r, g, b].map((each, at) => each * a + below[at] * (1 - a));
const page = matchMedia('(prefers-color-scheme: dark)').matches ? [0.07, 0.07, 0.07] : [1, 1, 1];
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = rgba(getComputedStyle(at).backgroundColor);
    if (colour[3] > 0.5) return over(colour, page);
  }
  return page;
};
const opacity = (element) => {
  let found = 1;
  for (let at = element; at; at = at.parentElement) found *= Number(getComputedStyle(at).opacity);
  return found;
};
const contrast = (element) => {
  const below = ground(element), [r, g, b, a] = rgba(getComputedStyle(element).color);
  const one = light(over([r, g, b, a * opacity(element)], below)), other = light(below);
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
};
const all = (selector) => [...document.querySelectorAll(selector)];
const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
const faults = [];
for (const element of all('main *, header *')) {
  if (!hasText(element) || element.closest('.unseen, .skip, svg, option, noscript')) continue;
  if (element.getClientRects().length === 0 || contrast(element) >= 4.5) continue;
  faults.push(`faint, ${contrast(element).toFixed(2)}: ${element.textContent.trim().slice(0, 40)}`);
}
for (const field of all('input:not([type=hidden]), select, textarea'))
  if (field.labels.length === 0 && !field.ariaLabel) faults.push(`no label: ${field.outerHTML}`);
for (const table of all('table:not(:has(caption))')) faults.push(`no caption: ${table.textContent.slice(0, 40)}`);
for (const cell of all('th:not([scope])')) faults.push(`no scope: ${cell.textContent}`);
for (const picture of all('svg:not([role=img][aria-label])')) faults.push('a picture without words');
if (all('h1').length !== 1 || all('main').length !== 1) faults.push('not one heading, or main part');
const ids = all('[id]').map((element) => element.id);
for (const id of ids.filter((each, at) => ids.indexOf(each) !== at)) faults.push(`twice: ${id}`);
return faults;
"""
