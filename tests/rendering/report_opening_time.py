"""How long a report of many clips takes to open: python tests/rendering/report_opening_time.py WORKSPACE [CLIPS]

Makes a report of the workspace's test clips with its media beside it and one with them inside, repeats the clips
(with files of their own) up to CLIPS, opens each page in a headless browser and prints the times and sizes.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

from browser import Tab, browser, until

from avsctl.rendering.report.page import json_for_script, media_element
from avsctl.stages import report as stage
from avsctl.stages.report_gather import ReportConfig
from avsctl.workspace import Workspace

TRIES = 5
DATA = re.compile(r'(<script type="application/json" id="data-json">)(.*?)(</script>)')


def repeated(workspace: Workspace, folder: Path, count: int) -> tuple[Path, Path, int]:
    """A page with media beside it, one with them inside, both of `count` clips; and the bytes of all media."""
    stage.EMBED_BYTES = 0
    made = stage.report(workspace, ReportConfig(out=folder / "beside.html", clips=None, device="cpu"))
    text = made.page.read_text(encoding="utf-8")
    data = json.loads(DATA.search(text).group(2))
    media, clips, size = folder / data["media"], [], 0
    blocks = folder / "blocks.txt"
    with blocks.open("w", encoding="utf-8") as handle:
        for number in range(count):
            source = data["clips"][number % len(data["clips"])]
            clip = {**source, "clip": 900_000 + number, "uid": f"{source['uid']}#{number}"}
            place = media / f"{clip['clip']:06d}"
            place.mkdir()
            for name, length in source["files"].items():
                os.link(media / f"{source['clip']:06d}" / name, place / name)
                size += length
            handle.write(media_element(clip["clip"], {name: (place / name).read_bytes() for name in source["files"]}))
            clips.append(clip)

    def with_data(content: dict) -> str:
        return DATA.sub(lambda match: match[1] + json_for_script(content) + match[3], text)

    made.page.write_text(with_data({**data, "clips": clips}), encoding="utf-8")
    inside = with_data({**data, "clips": clips, "media": None})
    single = folder / "inside.html"
    single.write_text(inside.replace("</body>", f"{blocks.read_text(encoding='utf-8')}</body>"), encoding="utf-8")
    return made.page, single, size


def opening_times(running, page: Path) -> dict[str, list[float]]:
    """Seconds from the start of the navigation: until something is painted, the list stands, and the player has its
    pictures."""
    times: dict[str, list[float]] = {"first paint": [], "list ready": [], "pictures shown": []}
    for _ in range(TRIES):
        tab = Tab(running, viewport={"width": 1280, "height": 900})
        # The page's own clock: Playwright's calls would count too.
        tab.context.add_init_script("""
          const watch = () => {
            if (!window.listReady && document.querySelector('#list button')) window.listReady = performance.now();
            const all = [...document.querySelectorAll('#stages img')];
            if (all.length && all.every((one) => one.complete && one.naturalWidth)) window.shown = performance.now();
            else requestAnimationFrame(watch);
          };
          requestAnimationFrame(watch);""")
        shown = tab.open(page)
        until(shown, "window.shown > 0", 120)
        paint = shown.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime || NaN")
        found = (paint, shown.evaluate("window.listReady"), shown.evaluate("window.shown"))
        for name, value in zip(times, found, strict=True):
            times[name].append(value / 1000)
        assert tab.complaints == [], tab.complaints
        tab.close()
    return times


def main(root: str, count: int = 1000) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, browser() as running:
        beside, inside, size = repeated(Workspace(Path(root)), Path(folder), count)
        for name, page in (("media beside", beside), ("single file", inside)):
            print(f"{count} clips, {name}: page {page.stat().st_size / 1e6:.1f} MB, media {size / 1e6:.1f} MB")
            for what, values in opening_times(running, page).items():
                low, middle, high = min(values), statistics.median(values), max(values)
                print(f"  {what}: {low:.2f} to {high:.2f} s, median {middle:.2f} s of {TRIES}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
