"""Looks at a page of the dashboard as a reader would: nothing broken, nothing cut, nothing fetched from elsewhere."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

WIDTH = 1280

# What a reader cannot see whole: text in a box that hides what does not fit, and boxes beyond the page's edge.
CUT = """() => {
  const found = [];
  const width = document.documentElement.clientWidth;
  for (const element of document.querySelectorAll('[data-testid=stMain] *, [data-testid=stSidebar] *, [role=dialog] *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || element.closest('svg, style, script, canvas, [aria-hidden=true], [data-testid=stDataFrame]')) continue;
    const box = element.getBoundingClientRect();
    if (box.width < 2 || box.height < 2) continue;  // for screen readers alone
    const look = getComputedStyle(element);
    if (look.visibility === 'hidden') continue;
    const hides = (each) => ['hidden', 'clip'].includes(getComputedStyle(each).overflowX);
    if (hides(element) && element.scrollWidth > element.clientWidth + 1) found.push('cut: ' + element.textContent.slice(0, 60));
    if (box.right > width + 1 || box.left < -1) found.push('beyond the edge: ' + element.textContent.slice(0, 60));
  }
  for (const name of ['stMain', 'stSidebarContent']) {
    const part = document.querySelector(`[data-testid=${name}]`);
    if (part && part.scrollWidth > part.clientWidth + 1) found.push(`${name} scrolls sideways`);
  }
  if (document.documentElement.scrollWidth > width + 1) found.push('the page scrolls sideways');
  return found;
}"""


class Reader:
    """One browser tab at 1280 pixels."""

    def __init__(self, browser: Browser, url: str, figures: Path, height: int = 860) -> None:
        self.page: Page = browser.new_page(viewport={"width": WIDTH, "height": height})
        self.page.set_default_timeout(30_000)
        self.url = url
        self.figures = figures
        self.height = height
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", self._requested)
        self.page.on(
            "console", lambda told: self.complaints.append(told.text) if told.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "dialog", lambda dialog: (self.complaints.append(f"dialog {dialog.message}"), dialog.dismiss())
        )
        self.page.goto(url)
        self.page.locator("h1").wait_for()
        self.settle()

    def _requested(self, request: object) -> None:
        where = urlsplit(str(getattr(request, "url", "")))
        if where.scheme not in {"data", "blob"} and where.netloc != urlsplit(self.url).netloc:
            self.foreign.append(where.geturl())

    @property
    def main(self) -> Locator:
        return self.page.get_by_test_id("stMain")

    def settle(self) -> None:
        """Wait until the script has run and what it drew stands still."""
        self.page.wait_for_timeout(100)
        self.page.wait_for_function(
            "() => document.querySelector('[data-testid=stApp]')?.getAttribute('data-test-script-state') === 'notRunning'"
        )
        self.page.wait_for_function(
            "() => !document.querySelector('[data-testid=stSkeleton], [data-stale=true]')"
        )
        self.page.wait_for_timeout(150)

    def open(self, title: str) -> None:
        """Go to a page by the navigation."""
        self.page.get_by_test_id("stSidebar").get_by_role("link", name=title, exact=True).click()
        self.page.locator("h1", has_text=title).wait_for()
        self.settle()

    def press(self, name: str, within: Locator | None = None) -> None:
        (within or self.main).get_by_role("button", name=name, exact=True).click()
        self.settle()

    def look(self, *, errors: bool = False) -> None:
        """Nothing is broken, nothing is cut, nothing came from elsewhere."""
        page = self.page
        assert page.get_by_test_id("stException").count() == 0
        assert "Traceback" not in page.locator("body").inner_text()
        if not errors:
            assert page.get_by_test_id("stAlertContentError").count() == 0, page.locator("body").inner_text()
        assert page.evaluate(CUT) == []
        assert self.foreign == []
        assert self.complaints == []

    def photograph(self, name: str, *, to: str | None = None) -> Path:
        """Look, and take a picture: of the window, or of the page down to an element."""
        toasts = self.page.get_by_test_id("stToast")
        for _ in range(toasts.count()):
            toasts.first.wait_for(state="detached")
        self.settle()
        self.look()
        self.page.mouse.move(WIDTH - 5, 5)
        if to is not None:
            box = self.page.locator(to).last.bounding_box()
            assert box is not None
            self.page.set_viewport_size({"width": WIDTH, "height": int(box["y"] + box["height"]) + 12})
            self.settle()
        image = Image.open(io.BytesIO(self.page.screenshot(animations="disabled")))
        self.page.set_viewport_size({"width": WIDTH, "height": self.height})
        path = self.figures / f"dashboard-{name}.png"
        # Of Pillow's ways this one keeps every colour within 7 of 255 (median cut loses small spots of colour).
        few = image.convert("RGB").quantize(
            256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
        )
        few.save(path, optimize=True)
        return path
