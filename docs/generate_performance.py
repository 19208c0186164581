"""Writes the measured part of docs/performance.md, and its plot, from the benchmark's JSON.

python docs/generate_performance.py [NOW.json [BEFORE.json]]

The files are kept as docs/performance.json and docs/performance-before.json; without arguments those are used.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from avsctl.caches.space import readable_bytes
from avsctl.rendering.figures import COLOURS, new_figure, save_figure

FOLDER = Path(__file__).parent
PAGE = FOLDER / "performance.md"
NOW, BEFORE = FOLDER / "performance.json", FOLDER / "performance-before.json"
PLOT = FOLDER / "images" / "performance-growth.png"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
GROWTH = "growth-"
PARTS = ("backbone", "pixel decoder", "decoder", "matcher", "loss")
"""Of a training step, in the order in which they compute."""


def reference() -> str:
    """The whole page, its measured part made anew."""
    now = _read(NOW)
    before = {item["name"]: item for item in _read(BEFORE)["items"]} if BEFORE.exists() else {}
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    return head + "\n".join([BEGIN, "", *_measured(now, before), END]) + rest.partition(END)[2]


def draw_growth() -> None:
    """Draw time and peak memory over the number of clips."""
    items = [item for item in _read(NOW)["items"] if item["name"].startswith(GROWTH)]
    if not items:
        return
    figure = new_figure(9.0, 3.6, dpi=110)
    seconds, memory = figure.subplots(1, 2)
    for item, colour in zip(items, COLOURS, strict=False):
        details, name = item["details"], item["name"].removeprefix(GROWTH)
        seconds.plot(details["counts"], details["seconds"], "o-", color=colour, label=name)
        memory.plot(details["counts"], [size / 1e6 for size in details["peak_bytes"]], "o-", color=colour)
    seconds.set(xscale="log", yscale="log", xlabel="clips", ylabel="seconds")
    memory.set(xscale="log", xlabel="clips", ylabel="peak memory (MB)", ylim=(0, None))
    figure.legend(loc="outside lower center", ncols=len(items), frameon=False)
    save_figure(figure, PLOT)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _measured(report: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    machine = report["machine"]
    fp32, bf16 = (machine[f"matmul_{kind}_flops"] / 1e9 for kind in ("fp32", "bf16"))
    native = "" if machine["native_bf16"] else ", which is not native here: the bf16 variants are left out"
    yield (
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads of torch {machine['torch']}, "
        f"transformers {machine['transformers']}. Matrix products: {fp32:.0f} GFLOP/s in float32, {bf16:.0f} in "
        f"bf16{native}."
    )
    if report["quick"]:
        yield "\nMeasured with `--quick`: small inputs and few rounds."
    yield "\n| item | ours | peer | ratio | before | target | peak memory, ours and peer | target |"
    yield "|---|---|---|---|---|---|---|---|"
    for item in report["items"]:
        yield _row(item, before.get(item["name"]))
    for one in (*report["skipped"], *report["failed"]):
        yield f"| {one['name']} | {one['reason']} | | | | | | |"
    yield from _network(report["items"])
    yield from _reading(report["items"])
    if any(item["name"].startswith(GROWTH) for item in report["items"]):
        yield f"\n![Time and peak memory over the number of clips](images/{PLOT.name})"
    yield ""


def _row(item: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    cells = [f"`{item['name']}`"]
    cells += [f"{item[side]:,.3g} {item['unit']}/s" for side in ("ours_per_s", "peer_per_s")]
    # What the item's whole target is, time and memory, the mark says.
    mark = {True: "**", False: "", None: ""}[item["reached"]]
    cells += [f"{mark}{item['ratio']:.2f}{mark}", "" if before is None else f"{before['ratio']:.2f}"]
    cells.append("" if item["target"] is None else f"{item['target']:g}")
    sizes = [item["ours_peak_bytes"], item["peer_peak_bytes"]]
    cells.append("" if None in sizes else " and ".join(map(readable_bytes, sizes)))
    cells.append("" if item["memory_target"] is None else f"{item['memory_target']:g}")
    return f"| {' | '.join(cells)} |"


def _network(items: list[Mapping[str, Any]]) -> Iterator[str]:
    """The share of the machine's rate, and where the time of a training step goes."""
    known = [item for item in items if "peer_flops" in item["details"]]
    if not known:
        return
    yield "\n| item | matrix products per frame | ours, of the machine's rate | peer |"
    yield "|---|---|---|---|"
    for item in known:
        details = item["details"]
        shares = [f"{100 * details[f'{side}_share_of_matmul_rate']:.0f} %" for side in ("ours", "peer")]
        yield f"| `{item['name']}` | {details['peer_flops'] / item['count'] / 1e9:.3g} GFLOP | {' | '.join(shares)} |"
    parted = [item for item in known if "ours_parts" in item["details"]]
    if not parted:
        return
    yield f"\n| a step's time | {' | '.join(PARTS)} |"
    yield "|---" * (len(PARTS) + 1) + "|"
    for item in parted:
        for side in ("ours", "peer"):
            parts = item["details"][f"{side}_parts"]
            yield f"| `{item['name']}`, {side} | {' | '.join(f'{100 * parts[name]:.0f} %' for name in PARTS)} |"


def _reading(items: list[Mapping[str, Any]]) -> Iterator[str]:
    """What of a pass over the folder must be decoded even where the sound is cached."""
    item = next((item for item in items if item["name"] == "data-path"), None)
    if item is None or "pictures_s" not in item["details"]:
        return
    whole, pictures, sound = (
        1000 * one / item["count"]
        for one in (item["peer_s"], item["details"]["pictures_s"], item["details"]["vggish_s"])
    )
    yield (
        f"\nOf the folder's {whole:.0f} ms a clip, decoding and resizing its pictures takes {pictures:.0f} ms, VGGish "
        f"{sound:.0f} ms. Pictures kept as they are must still be decoded, so that `data-path` can be "
        f"{whole / pictures:.1f} times as fast at most; decoded frames have no such bound."
    )


if __name__ == "__main__":
    for given, kept in zip(sys.argv[1:], (NOW, BEFORE), strict=False):
        if Path(given).resolve() != kept:
            shutil.copyfile(given, kept)
    draw_growth()
    PAGE.write_text(reference(), encoding="utf-8")
    print(PAGE)
