"""What a browser finds wrong with how a page looks and reads, and with where the keyboard leads."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from mpc.curves import Points
from parties.outcome.curves import calibration
from tests.browser import Browser

# a script whose value is a list of faults
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
for (const picture of all('img:not([alt])')) faults.push(`a picture without words: ${picture.outerHTML}`);
for (const text of all('main svg text')) {
  const below = ground(text), one = light(over(rgba(getComputedStyle(text).fill), below)), other = light(below);
  if ((Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05) < 4.5) faults.push(`faint: ${text.textContent}`);
}
if (all('h1').length !== 1 || all('main').length !== 1) faults.push('not one heading, or main part');
let level = 0;
for (const heading of all('h1, h2, h3, h4, h5, h6')) {
  const found = Number(heading.tagName[1]);
  if (found > level + 1) faults.push(`a step is left out before: ${heading.tagName} ${heading.textContent.trim()}`);
  level = found;
}
for (const thing of all('a[href], button, summary')) {
  const named = thing.textContent.trim() || thing.ariaLabel || thing.title;
  if (!named) faults.push(`no name: ${thing.outerHTML}`);
}
for (const name of ['aria-labelledby', 'aria-describedby', 'aria-controls', 'for', 'headers'])
  for (const thing of all(`[${name}]`))
    for (const id of thing.getAttribute(name).split(/\\s+/))
      if (!document.getElementById(id)) faults.push(`${name} of what is not there: ${id}`);
for (const part of all('section, nav, [role=region]'))
  if (!part.ariaLabel && !part.getAttribute('aria-labelledby')) faults.push(`a part without a name: ${part.className}`);
for (const link of all('a[href^="#"]'))
  if (!document.getElementById(link.hash.slice(1))) faults.push(`a link to what is not there: ${link.hash}`);
if (!document.documentElement.lang || !document.title.trim()) faults.push('no language, or no title');
const ids = all('[id]').map((element) => element.id);
for (const id of ids.filter((each, at) => ids.indexOf(each) !== at)) faults.push(`twice: ${id}`);
return faults;
"""

# of everything that Tab should reach, and of what it reached, whether that was seen
STOPS = """
const stops = () => [...document.querySelectorAll(
  'a[href], button, select, textarea, summary, input:not([type=hidden]):not([type=radio]), [tabindex="0"]'
)].filter((each) => !each.disabled && each.checkVisibility({visibilityProperty: true}));
const named = (each) => `${each.tagName} ${(each.id || each.name || each.textContent).trim().slice(0, 40)}`;
"""
WATCH = f"""{STOPS}
window.reached = new Set(); window.unseen = [];
document.addEventListener('focusin', ({{target}}) => {{
  reached.add(target);
  const style = getComputedStyle(target), box = target.getBoundingClientRect();
  const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  if (!outlined || box.right <= 0 || box.bottom + scrollY <= 0) unseen.push(named(target));
}});
return stops().length;
"""
LEFT_OUT = (
    f"{STOPS} return [...unseen.map((each) => `unseen: ${{each}}`), ...stops().filter((each) => !reached.has(each))"
)
LEFT_OUT += ".map((each) => `not reached: ${named(each)}`)];"


def astray(window: Browser) -> list[str]:
    """What Tab does not reach on the page that is open, from its top on, or reaches without its being seen."""
    window.run("document.activeElement.blur(); scrollTo(0, 0)")
    count = int(window.run(WATCH))
    for _ in range(2):  # parts that scroll are stops too
        window.press(*[Keys.TAB] * (count + 2))
        if not (found := list(window.run(LEFT_OUT))):
            break
    return found


def faults(window: Browser) -> list[str]:
    """All that is wrong with the page that is open, as the window is now."""
    return [*window.run(FAULTS), *([] if window.fits() else ["it scrolls sideways"])]


CALIBRATION = "svg[aria-label='Calibration on the held-out rows']"
STROKES = """
return [...document.querySelectorAll(`${arguments[0]} .curve`)].map((each) =>
  ['x1', 'x2', 'y1', 'y2'].map((name) => Number(each.getAttribute(name))));
"""
SEEN_INSIDE = """
const box = document.querySelector(`${arguments[0]} .axes`).getBoundingClientRect();
return [...document.querySelectorAll(`${arguments[0]} line`)].every((each) => {
  const drawn = each.getBoundingClientRect();
  const within = drawn.left >= box.left - 1 && drawn.right <= box.right + 1
    && drawn.top >= box.top - 1 && drawn.bottom <= box.bottom + 1;
  const painted = !['none', 'rgba(0, 0, 0, 0)'].includes(getComputedStyle(each).stroke);
  return within && drawn.width + drawn.height > 0 && painted;
});
"""


def check_calibration(window: Browser, table: Points) -> int:
    """That the page draws each group of this table that has a share where it belongs, and lists it; how many have."""
    groups = [(group, group.share) for group in calibration(table) if group.share is not None]
    expected = [(*(100 * edge for edge in group.predicted), *[100 * (1 - share)] * 2) for group, share in groups]
    assert window.run(STROKES, CALIBRATION) == [pytest.approx(stroke, abs=0.01) for stroke in expected]
    assert len(window.all(f"{CALIBRATION} .open")) == len(groups)
    assert window.run(SEEN_INSIDE, CALIBRATION)
    figure = window.one(f"figure:has({CALIBRATION})")
    figure.find_element(By.CSS_SELECTOR, "summary").click()
    rows = figure.find_element(By.CSS_SELECTOR, "tbody").text.splitlines()
    assert [row.split()[-1] for row in rows if not row.endswith("rows")] == [f"{share:.2f}" for _, share in groups]
    return len(groups)
