#!/usr/bin/env python
"""Pictures of the tab "RNN Diagnostics" and of the standard dashboards on the runs of a folder, for the README.

    python scripts/screenshots.py <logdir> <folder for the pictures> [--link "run=tanh,lstm&layer=rnn.l0&step=400"]

docs/images/tab.png and docs/images/standard.png are made from two runs on one task:

    rnn-diag-train -m experiment=adding_rnn,adding_lstm hydra.sweep.dir=outputs/pair
    python scripts/screenshots.py outputs/pair outputs/pictures
    cp outputs/pictures/{tab,standard}.png docs/images

Needs Chromium and `pip install playwright`.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PANELS = (
    *("gradients", "profile", "influence", "spectrum", "gates", "gates-over-training", "units"),
    *("lyapunov", "horizon", "cost"),
)
STANDARD = ("images", "custom_scalars", "histograms", "text")
SIZE = {"width": 1500, "height": 1000}
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def tensorboard(logdir: Path) -> Iterator[str]:
    """Run TensorBoard on a folder; give its address once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", logdir.name, "--port", str(port)]
    server = subprocess.Popen(
        command, cwd=logdir.resolve().parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}data/plugin/rnn_diag/index", timeout=1)
                break
            except OSError:
                time.sleep(0.5)
        time.sleep(2)  # The log is read in the background.
        yield address
    finally:
        server.terminate()
        server.wait()


def photograph(address: str, folder: Path, link: str) -> None:
    """Save the first screen, the whole page and every panel, light and dark."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    fragment = "".join(f"&p.rnn_diag.{word}" for word in link.split("&") if word)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        for theme in ("light", "dark"):
            page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)
            page.goto(f"{address}?darkMode={str(theme == 'dark').lower()}#rnn_diag{fragment}")
            frame = page.frame_locator("iframe")
            frame.locator("body[data-ready]").wait_for(timeout=60_000)
            time.sleep(1.0)
            page.screenshot(path=folder / f"tab_{theme}.png")
            for panel in PANELS:
                section = frame.locator(f"#{panel}")
                if section.is_visible():
                    section.screenshot(path=folder / f"{panel}_{theme}.png")
            page.close()
        for dashboard in STANDARD:
            page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)
            page.goto(f"{address}?darkMode=false#{dashboard}")
            time.sleep(6.0)  # These pages do not say when they are drawn.
            page.screenshot(path=folder / f"standard_{dashboard}.png")
            page.close()
        browser.close()


def make_small(folder: Path) -> None:
    """Save the tab, and the upper part of the standard pictures, in the size that a page has for them."""
    from PIL import Image

    for source, name, part in (("tab_light", "tab", 1.0), ("standard_images", "standard", 0.56)):
        picture = Image.open(folder / f"{source}.png").convert("RGB")
        picture = picture.crop((0, 0, picture.width, round(part * picture.height)))
        picture = picture.resize((SIZE["width"], round(picture.height * SIZE["width"] / picture.width)))
        picture.save(folder / f"{name}.png", optimize=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("logdir", type=Path)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--link", default="", help="run, layer and step to show, as in the tab's own address")
    given = arguments.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with tensorboard(given.logdir) as address:
        photograph(address, given.folder, given.link)
    make_small(given.folder)


if __name__ == "__main__":
    main()
