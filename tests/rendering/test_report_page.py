"""The report's page in a real browser: it plays, filters, obeys the keyboard, and trusts no text."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from avsctl.caches.clips import ClipRecord, assemble_clips
from avsctl.data.media import index_png
from avsctl.rendering.images import encode_jpeg
from avsctl.rendering.report.page import json_for_script, media_element
from avsctl.stages.report import report
from avsctl.stages.report_gather import ReportConfig
from avsctl.workspace import Workspace

sys.path.append(str(Path(__file__).parent))
from browser import Tab, browser, until  # noqa: E402

IMAGE = '<img src=x onerror="window.hacked=1">'
HOSTILE = '</script><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


@pytest.fixture(scope="module")
def chromium():
    try:
        with browser() as running:
            yield running
    except LookupError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def pages(scored_workspace, tmp_path_factory):
    """Two pages of all six test clips: one with its media inside, one of two runs with media beside it."""
    torch.set_num_threads(1)
    folder, workspace = tmp_path_factory.mktemp("pages"), Workspace(scored_workspace)
    report(workspace, ReportConfig(out=folder / "inside.html", clips=None, device="cpu"))
    runs = ("avss/aavs-tiny-all-oracle-s3407", "avss/aavs-tiny-all-none-s3407")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avsctl.stages.report.EMBED_BYTES", 0)
        report(workspace, ReportConfig(runs, out=folder / "beside.html", clips=2, device="cpu"))
    return folder


@pytest.fixture
def tab(chromium):
    """Open a page: `tab(path, **settings)` gives Playwright's page. Complaints fail the test."""
    tabs = []

    def show(path, **settings):
        settings = {"viewport": {"width": 1280, "height": 900}, **settings}
        tabs.append(Tab(chromium, **settings))
        page = tabs[-1].open(path)
        page.wait_for_selector("#list button")
        return page

    yield show
    complaints = [complaint for one in tabs for complaint in one.complaints]
    for one in tabs:
        one.close()
    assert complaints == []


def opacity(page, layer):
    return page.eval_on_selector_all(f'#stages img[data-layer="{layer}"]', "all => all.map(one => one.style.opacity)")


def loaded(page):
    until(page, "[...document.querySelectorAll('#stages img')].every(one => one.complete && one.naturalWidth)")


@pytest.mark.parametrize("name", ["inside.html", "beside.html"])
def test_it_opens_with_the_worst_clip_and_all_its_pictures(tab, pages, name):
    page = tab(pages / name)
    loaded(page)
    assert page.locator("#list button").count() == 6
    scores = [float(text) for text in page.locator("#list .score").all_text_contents() if text != "–"]
    assert scores == sorted(scores)
    assert page.locator("#clip-title").inner_text() == page.locator("#list .name").first.text_content()
    titles = page.locator("#stages figcaption b").all_inner_texts()
    alone = ["Frame", "Ground truth", "Stage-1 prior", "Semantic result"]
    assert titles == (alone if name == "inside.html" else [*alone, "Semantic result"])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    thumbs = "[...document.querySelectorAll('#list img')].filter(one => one.naturalWidth > 1).length"
    until(page, f"{thumbs} >= 4")


@pytest.mark.parametrize("name", ["inside.html", "beside.html"])
def test_a_clip_plays_with_its_sound_and_the_pictures_follow(tab, pages, name):
    page = tab(pages / name)
    loaded(page)
    before = page.locator("#stages img").first.evaluate("one => one.style.transform")
    page.click("#play")
    until(page, "document.getElementById('audio').currentTime > 1.2")
    assert page.evaluate("isFinite(document.getElementById('audio').duration)")
    until(page, "parseInt(document.getElementById('clock').textContent.match(/second ([0-9]+)/)[1]) >= 2")
    assert page.locator("#stages img").first.evaluate("one => one.style.transform") != before
    # In one call, since the clip goes on playing.
    heard, second, marked = page.evaluate(
        "[Math.floor(document.getElementById('audio').currentTime), +document.getElementById('second').value, "
        "+document.querySelector('#timeline .now').innerText]"
    )
    assert abs(second - heard) <= 1 and marked == second + 1
    if page.inner_text("#play") != "Play":  # a slow machine may be at the end already
        page.click("#play")
    assert page.evaluate("document.getElementById('audio').paused")
    assert page.inner_text("#play") == "Play"


def test_layers_are_switched_and_faded(tab, pages):
    page = tab(pages / "inside.html")
    page.check('input[name="view"][value="stack"]')
    loaded(page)
    assert page.locator("#stages figure").count() == 1
    assert opacity(page, "result") == ["0.6"]
    page.uncheck("#layer-result")
    assert opacity(page, "result") == ["0"]
    page.check("#layer-result")
    page.locator("#fade-result").fill("25")
    assert opacity(page, "result") == ["0.25"]
    page.uncheck("#layer-frame")
    assert opacity(page, "frame") == ["0"]
    page.check('input[name="view"][value="tiles"]')
    page.uncheck("#layer-prior")
    assert "Stage-1 prior" not in page.locator("#stages figcaption:visible").all_inner_texts()


def test_clips_are_filtered_and_sorted(tab, pages):
    page = tab(pages / "inside.html")
    page.select_option("#subset", "s4")
    assert page.locator("#list button").count() == 2
    assert page.inner_text("#count") == "2 of 6 clips shown here."
    assert page.inner_text("#clip-note").startswith("subset s4")
    page.click("#show-all")
    until(page, "document.querySelectorAll('#list button').length === 6")
    name = page.locator("#truth option").nth(1).inner_text()
    page.select_option("#truth", index=1)
    assert f"({page.locator('#list button').count()})" in name
    page.fill("#named", "no such clip")
    assert page.inner_text("#count") == "No clip fits these filters."
    page.fill("#named", "")
    page.select_option("#truth", "")
    page.select_option("#sort", "0:avs_miou")
    scores = [float(text) for text in page.locator("#list .score").all_text_contents()]
    assert scores == sorted(scores)
    page.select_option("#order", "-1")
    assert [float(text) for text in page.locator("#list .score").all_text_contents()] == sorted(scores, reverse=True)
    assert "all classes as sounding" in page.inner_text("#meaning")


def test_a_class_and_a_confusion_lead_to_their_clips(tab, pages):
    page = tab(pages / "inside.html")
    for row in page.locator("#classes tbody tr").all()[:3]:
        name = row.locator("button").get_attribute("data-truth")
        if name == "background":
            continue
        row.locator("button").click()
        chosen = page.locator("#truth option:checked, #result option:checked").all_inner_texts()
        assert any(text.startswith(f"{name} (") for text in chosen)
        assert 1 <= page.locator("#list button").count() <= 6
    cell = page.locator("#confusion td.wrong button").first
    cell.click()
    for side in ("truth", "result"):
        name = cell.get_attribute(f"data-{side}")
        if name != "background":
            assert page.locator(f"#{side} option:checked").inner_text().startswith(f"{name} (")
    assert page.evaluate("document.activeElement.id") == "player"


def test_runs_side_by_side_can_be_sorted_by_their_difference(tab, pages):
    page = tab(pages / "beside.html")
    options = page.locator("#sort option").all_inner_texts()
    both = "avss/aavs-tiny-all-none-s3407 minus avss/aavs-tiny-all-oracle-s3407"
    assert f"avs_miou: {both}" in options
    page.select_option("#sort", label=f"avs_miou: {both}")
    values = [float(text) for text in page.locator("#list .score").all_text_contents()]
    assert values == sorted(values)
    assert page.locator("#clip-scores thead th").count() == 3


def test_everything_works_from_the_keyboard(tab, pages):
    page = tab(pages / "inside.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus('#list button[tabindex="0"]')
    page.keyboard.press("ArrowDown")
    second = page.locator("#list .name").nth(1).text_content()
    assert page.evaluate("document.activeElement.querySelector('.name').textContent") == second
    page.keyboard.press("Enter")
    assert page.inner_text("#clip-title") == second
    page.focus("#player")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#clock").startswith("second 3 of")
    assert re.match(r"Second 3 of \d+\. ground truth: .+\. result: .+\.", page.inner_text("#say"))
    page.keyboard.press("4")
    assert not page.is_checked("#layer-result")
    page.keyboard.press("v")
    assert page.is_checked('input[name="view"][value="stack"]')
    page.keyboard.press("n")
    assert page.inner_text("#clip-title") == page.locator("#list .name").nth(2).text_content()
    page.keyboard.press("Space")
    assert page.inner_text("#play") == "Stop"
    page.keyboard.press("Space")
    assert page.inner_text("#play") == "Play"


def test_every_control_has_a_name(tab, pages):
    page = tab(pages / "beside.html")
    controls = page.locator("button, select, input, [role=region], [role=group], audio:not([hidden]) ~ table").all()
    assert len(controls) > 30
    nameless = page.evaluate("""() => [...document.querySelectorAll(
        'button, select, input, [role=region], [role=group]')].filter(one =>
          !(one.textContent.trim() && one.tagName === 'BUTTON') && !one.getAttribute('aria-label') &&
          !one.getAttribute('aria-labelledby') &&
          !(one.labels && [...one.labels].some(label => label.textContent.trim()))
        ).map(one => one.outerHTML.slice(0, 90))""")
    assert nameless == []
    assert page.evaluate("[...document.querySelectorAll('img')].every(one => one.hasAttribute('alt'))")
    assert page.evaluate("new Set([...document.querySelectorAll('[id]')].map(one => one.id)).size") == page.evaluate(
        "document.querySelectorAll('[id]').length"
    )


CONTRAST = """() => {
  const channels = (text) => {
    const box = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    box.fillStyle = text; box.fillRect(0, 0, 1, 1);
    return [...box.getImageData(0, 0, 1, 1).data];
  };
  const ground = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(channels(getComputedStyle(one).backgroundColor));
    let colour = [255, 255, 255];
    for (const [r, g, b, a] of layers.reverse()) {
      colour = [r, g, b].map((value, i) => value * a / 255 + colour[i] * (1 - a / 255));
    }
    return colour;
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const poor = [];
  for (const element of document.querySelectorAll('main *, header *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest('svg, option')) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) poor.push(`${contrast.toFixed(2)} ${element.tagName}.${element.className}: ${element.textContent.slice(0, 30)}`);
  }
  return poor;
}"""  # noqa: E501


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes_are_readable(tab, pages, scheme):
    page = tab(pages / "inside.html", color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    assert page.evaluate(CONTRAST) == []
    other = {"light": "dark", "dark": "light"}[scheme]
    page.select_option("#theme", other)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != paper


def test_nothing_sticks_out_on_a_phone(tab, pages):
    page = tab(pages / "beside.html", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.is_checked('input[name="view"][value="stack"]')
    page.locator("#list button").nth(2).scroll_into_view_if_needed()
    page.locator("#list button").nth(2).tap()
    assert page.inner_text("#clip-title") == page.locator("#list .name").nth(2).text_content()
    until(page, "Math.abs(document.getElementById('player').getBoundingClientRect().top) < 80")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A workspace whose clips, classes and subsets have names that want to be run."""
    root = tmp_path_factory.mktemp("hostile")
    picture, label = encode_jpeg(np.full((32, 48, 3), 90, np.uint8)), np.zeros((32, 48), np.uint8)
    label[8:20, 8:20] = 1
    shown = {"frames": [picture] * 2, "labels": [index_png(label)] * 2, "audio": b""}
    records = [ClipRecord(f"{n}{IMAGE}", "v", f"{n}'\"><b>", "test", **shown) for n in (1, 2)]
    colours = np.array([[0, 0, 0], [200, 0, 0]], np.uint8)
    assemble_clips(
        root / "clips.h5",
        lambda: (record.arrays() for record in records),
        classes=["background", HOSTILE],
        palette=colours,
        label_kind="semantic",
        options={},
    )
    run = root / "runs" / "avss" / "<img src=x onerror=window.hacked=1>"
    run.mkdir(parents=True)
    (run / "config.json").write_text(f'{{"epochs": 3, "{"<script>"}": "</style><script>window.hacked=1</script>"}}')
    (run / "record.json").write_text(
        '{"task": "avss", "complete": false, "history": [{"epoch": 1, "loss": 2.0, "miou": 0.2, "$x_{": "<b>"},'
        ' {"epoch": "<i>", "loss": "x"}, 7], "best": {"epoch": []}, "classes": 3, "model": ["<b>"]}'
    )
    return report(Workspace(root), ReportConfig(device="cpu")).page


def test_hostile_names_are_shown_as_text_and_never_run(tab, hostile):
    page = tab(hostile)
    loaded(page)
    assert page.inner_text("#clip-title") == f"1{IMAGE}"
    assert HOSTILE in page.inner_text("#timeline")
    assert "<img src=x onerror=window.hacked=1>" in page.inner_text("#runs")
    assert page.evaluate("window.hacked") is None
    page.click("#play")  # a clip without sound steps by the clock
    until(page, "document.getElementById('clock').textContent.startsWith('second 2')")
    assert page.inner_text("#sound-note") == "This clip has no sound of its own to play."


def test_the_policy_stops_a_script_that_got_in(chromium, pages, tmp_path):
    text = (pages / "inside.html").read_text(encoding="utf-8")
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text(text.replace("</main>", "<script>window.hacked=1</script><p onclick='1' id=x></p></main>"))
    one = Tab(chromium)
    page = one.open(spoilt)
    assert page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in complaint for complaint in one.complaints)
    one.close()


def test_data_can_not_end_the_script_it_stands_in():
    text = json_for_script({"uid": HOSTILE, "amp": "&lt;"})
    assert not set("<>&") & set(text)
    element = media_element(3, {"sound.mp3": b"\x00\xff"})
    assert element.startswith('<script type="application/json" id="media-3">{"sound.mp3":"data:audio/mpeg;base64,AP8=')
