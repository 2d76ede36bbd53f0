"""The rendered book in a real browser: formulas drawn, no script error, nothing wider than the window, dark mode."""

import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HTML = Path(os.environ.get("BNNLIB_HTML", ROOT / "_build" / "html"))
SHOTS = ROOT / "_build" / "screenshots"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
FILES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site():
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(HTML)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def opened(browser, site, file, *, width=1280, theme="light"):
    """The page in a new window, loaded and with its formulas set; and the script errors met."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("response", lambda answer: errors.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    page.goto(f"{site}/{file}.html", wait_until="load")
    if page.locator(".math").count():
        page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise", timeout=20_000)
        page.evaluate("MathJax.startup.promise")
    return page, errors


def shot(page, name):
    """A picture of the page for people to look at, where BNNLIB_SHOTS is set: pictures take longer than the tests."""
    if not os.environ.get("BNNLIB_SHOTS"):
        return
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


# What sticks out of its place or is hidden at its edge. On a narrow page tables of data may scroll within themselves.
CUT = """narrow => {
  const article = document.querySelector("article") || document.querySelector("main");
  const edge = article.getBoundingClientRect().right + 2;
  const scrolls = element => element.scrollWidth > element.clientWidth + 1;
  const cut = [];
  for (const element of article.querySelectorAll("pre, mjx-container[display=true], img, table, .output")) {
    if (!element.offsetParent) continue;
    const data = element.closest(".text_html, .pst-scrollable-table-container") && !element.matches(".ledger");
    if (narrow && data) continue;
    if (element.getBoundingClientRect().right > edge || (!element.matches("img, table") && scrolls(element)))
      cut.push(element.tagName + ": " + (element.innerText || element.src || "").slice(0, 60));
  }
  return cut;
}"""


@pytest.mark.parametrize("file", FILES)
def test_a_page_loads_without_errors_draws_its_formulas_and_fits_every_screen(browser, site, file):
    page, errors = opened(browser, site, file, width=1920)  # once: loading takes longer than all that is asked of it
    assert errors == []
    formulas = page.locator(".math").count()
    assert page.locator("mjx-container").count() >= formulas
    assert page.locator("mjx-merror").count() == 0
    assert page.evaluate("[...document.images].filter(i => !i.complete || i.naturalWidth == 0).map(i => i.src)") == []
    for width in (1920, 1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(150)
        assert page.evaluate("document.documentElement.scrollWidth") <= width + 2, width
        assert page.evaluate(CUT, width < 500) == [], width
        shot(page, f"{file.replace('/', '-')}-{width}")
    page.context.close()


def test_panels_stand_side_by_side_on_a_wide_page_and_stack_on_a_narrow_one(browser, site):
    page, _ = opened(browser, site, "book/fashion-mnist")
    where = "[...document.querySelector('.tag_panels').querySelectorAll('img')].map(i => i.getBoundingClientRect().top)"
    wide = page.evaluate(where)
    assert len(wide) == 2
    assert abs(wide[0] - wide[1]) < 5
    page.set_viewport_size({"width": 390, "height": 900})
    narrow = page.evaluate(where)
    assert narrow[1] > narrow[0] + 100
    page.context.close()


def test_the_ledger_becomes_cards_on_a_narrow_page(browser, site):
    page, _ = opened(browser, site, "book/ledger", width=390)
    assert not page.locator("table.ledger thead").is_visible()
    cell = page.locator("table.ledger td").nth(1)
    assert cell.evaluate("e => getComputedStyle(e, '::before').content") == '"claimed: "'
    page.context.close()


def test_dark_mode_is_dark_and_turns_figures_round(browser, site):
    page, _ = opened(browser, site, "book/fashion-mnist", theme="dark")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    channels = [int(v) for v in background[background.index("(") + 1 : -1].split(",")[:3]]
    assert sum(channels) < 200, background
    figure = page.locator(".cell_output img").first
    assert "invert" in figure.evaluate("e => getComputedStyle(e).filter")
    assert figure.evaluate("e => getComputedStyle(e).backgroundColor") == "rgba(0, 0, 0, 0)"
    shot(page, "book-fashion-mnist-dark")
    page.context.close()


def test_plumbing_is_folded_and_opens(browser, site):
    page, _ = opened(browser, site, "book/fashion-mnist")
    folded = page.locator("details.hide", has_text="Parameters").first
    assert not folded.locator("pre").is_visible()
    folded.locator("summary").click()
    folded.locator("pre").wait_for(state="visible", timeout=5000)
    page.context.close()


def test_search_answers(browser, site):
    page, _ = opened(browser, site, "search")
    page.goto(f"{site}/search.html?q=popcount")
    found = page.locator("#search-results li", has_text="Why one bit")  # results come one by one
    found.first.wait_for(timeout=15_000)
    page.context.close()


def test_a_solution_is_hidden_until_it_is_asked_for(browser, site):
    page, _ = opened(browser, site, "book/why-one-bit")
    solution = page.locator(".solution.dropdown, details.dropdown").first
    inside = solution.locator("pre").first
    assert not inside.is_visible()
    solution.locator("button, summary, .toggle-button").first.click()
    inside.wait_for(state="visible", timeout=5000)
    page.context.close()


def test_the_network_in_the_page_runs_from_a_file_without_a_network(browser):
    """As a reader uses it: every slider, the answers of the packed network, and back to where it began."""
    import numpy as np

    import bnnlib
    from bnnlib.data import samples
    from bnnlib.data.idx import read_idx

    packed = bnnlib.pretrained("fashion-mnist-1-bit")
    images = read_idx(samples.find("FashionMNIST", "raw/t10k-images-idx3-ubyte.gz"))
    labels = read_idx(samples.find("FashionMNIST", "raw/t10k-labels-idx1-ubyte.gz"))
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((HTML / "book" / "in-the-page.html").as_uri())
    part = lambda name: page.locator(f"#bits-demo [data-part={name}]")  # noqa: E731
    part("scores").wait_for()

    def move(name, value):
        script = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }"
        part(name).evaluate(script, value)

    def shown():
        texts = page.locator("#bits-demo [data-score]").all_inner_texts()
        return part("answer").inner_text(), [float(text) for text in texts]

    how = packed.about["input"]
    first = shown()
    for number in (0, 17, 99):
        move("number", number)
        image = images[np.flatnonzero(labels == number % 10)[number // 10]]
        scores = packed.scores(((image[None].astype(np.float32) - how["mean"]) / how["deviation"]).astype(np.float32))
        answer, told = shown()
        assert answer == packed.classes[int(scores.argmax())]
        assert part("truth").inner_text() == packed.classes[number % 10]
        np.testing.assert_allclose(told, np.round(scores, 2), atol=0.011)
    before = shown()
    for name, value in (("across", 9), ("down", -6), ("noise", 120), ("share", 45)):
        move(name, value)
        assert shown() != before, name
        before = shown()
    assert "of" in part("turned").inner_text()
    part("reset").click()
    assert shown() == first
    assert errors == []
    context.close()
