"""The tab in a page of the browser: what it shows, as text and as pixels, and what went wrong in it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

COLUMN = """([canvas, share, offset]) => {
  const ratio = devicePixelRatio, context = canvas.getContext('2d');
  const x = Math.round((66 + share * (canvas.clientWidth - 80)) * ratio);
  const pixels = [];
  for (let y = 10; y < 256; y += 6) pixels.push([...context.getImageData(x, Math.round(y * ratio), 1, 1).data]);
  return pixels;
}"""
"""The colours of a heat map from above to below, at a share of its width."""
MAGENTA = [255, 0, 255, 255]


class Tab:
    """The tab in a page, and what went wrong in it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.frame = page.frame_locator("iframe")
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.policies: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.note(message))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname or ""))
        page.route("**/plugin_entry.html*", self.tighten)

    def tighten(self, route: Any) -> None:
        """Allow the page what TensorBoard allows it, but no `eval`; what goes beyond is an error in the console."""
        response = route.fetch()
        policy = response.headers["content-security-policy"].replace("'unsafe-eval'", "")
        self.policies.append(policy)
        route.fulfill(response=response, headers={**response.headers, "content-security-policy": policy})

    def note(self, message: Any) -> None:
        where = message.location.get("url", "")
        if message.type == "error" and "font-roboto" not in where:  # TensorBoard's own, missing beneath a prefix.
            self.errors.append(f"{message.text} {where}")

    def open(self, address: str) -> Tab:
        self.page.goto(address)
        self.frame.locator("body[data-ready]").wait_for(timeout=40_000)
        return self

    def text(self, selector: str) -> str:
        return str(self.frame.locator(selector).first.inner_text())

    def drawn(self) -> int:
        return int(self.frame.locator("body").get_attribute("data-ready"))

    def canvas(self, selector: str, script: str, *arguments: float) -> Any:
        handle = self.frame.locator(selector).element_handle()
        return (
            handle.evaluate(script, *arguments)
            if not arguments
            else handle.evaluate(f"(canvas, given) => ({script})([canvas, ...given])", list(arguments))
        )


def brightness(pixel: list[int]) -> float:
    return 0.2 * pixel[0] + 0.7 * pixel[1] + 0.1 * pixel[2]
