"""A real browser, headless, that tests drive, and what it did: requests, errors, breaches of a page's policy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
DESKTOP, PHONE = (1280, 900), (390, 844)
DEADLINE_S = 120
REFUSED_FORM = "422 (Unprocessable Entity)"  # a form that comes again, with complaints in it
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="no chromium with chromedriver here: `apt-get install chromium chromium-driver`",
)


class Browser:
    """One window. `driver` does what has no name of its own here."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.hosts: set[str] = set()  # that anything was asked of
        self.complaints: list[str] = []  # of scripts, and of the policy

    def open(self, address: str) -> Browser:
        self.driver.get(address)
        return self

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        """Light or dark."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def run_async(self, script: str, *arguments: Any) -> Any:
        """The body of an async function; its value, or what it threw as a test's failure."""
        self.driver.set_script_timeout(DEADLINE_S)
        wrapped = (
            "const done = arguments[arguments.length - 1];"
            f"(async (...given) => {{{script}}})(...[...arguments].slice(0, -1))"
            ".then((value) => done({value}), (error) => done({error: String(error)}))"
        )
        found = self.driver.execute_async_script(wrapped, *arguments)
        assert "error" not in found, found["error"]
        return found.get("value")

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def link(self, text: str) -> WebElement:
        return self.driver.find_element(By.LINK_TEXT, text)

    def link_to(self, address: str) -> WebElement:
        return self.one(f"a[href='{address}']")

    def button(self, text: str) -> WebElement:
        return self.driver.find_element(By.XPATH, f"//button[contains(., '{text}')]")

    def fill(self, name: str, text: str) -> None:
        field = self.driver.find_element(By.NAME, name)
        field.clear()
        field.send_keys(text)

    @property
    def text(self) -> str:
        return self.one("main").text

    def until(self, what: str, script: str, *arguments: Any, seconds: float = DEADLINE_S) -> None:
        """Wait until a script's value is true; the page may change meanwhile."""
        wait = WebDriverWait(self.driver, seconds, poll_frequency=0.05)
        try:
            wait.until(lambda driver: driver.execute_script(f"return {script}", *arguments))
        except TimeoutException:
            pytest.fail(f"no {what} within {seconds:g} s: {self.text}")

    def press(self, *keys: str) -> None:
        """Keys, to whatever has the focus."""
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def tab(self) -> str:
        """Go on to the next place, and say what it is."""
        self.press(Keys.TAB)
        return str(self.run("return document.activeElement.textContent.trim() || document.activeElement.id"))

    def fits(self) -> bool:
        """Whether the page is no wider than the window."""
        return bool(self.run("return document.documentElement.scrollWidth <= window.innerWidth"))

    def look_back(self) -> None:
        """Gather what was asked for and complained of since the last time."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                address = urlsplit(message["params"]["request"]["url"])
                if address.scheme in {"http", "https", "ws", "wss"}:
                    self.hosts.add(address.hostname or "")
        complaints = [entry["message"] for entry in self.driver.get_log("browser")]
        self.complaints += [each for each in complaints if not each.endswith(f"a status of {REFUSED_FORM}")]


@contextmanager
def browser() -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    options.binary_location = CHROMIUM or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        made = Browser(driver)
        made.size(*DESKTOP)
        yield made
    finally:
        driver.quit()
