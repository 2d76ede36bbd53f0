"""The rendered book as files: no error in it, no broken link, no missing image, nothing fetched from elsewhere."""

import os
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]
HTML = Path(os.environ.get("BNNLIB_HTML", ROOT / "_build" / "html"))
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
FILES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(), "html.parser")


@cache
def ids(path: Path) -> frozenset[str]:
    """What links to a page can point at."""
    return frozenset(found["id"] for found in soup(path).find_all(id=True))


@pytest.fixture(params=FILES)
def page(request) -> Path:
    return HTML / f"{request.param}.html"


def targets(path):
    """(element, attribute value) of everything on a page that points somewhere."""
    for element, attribute in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")):
        for found in soup(path).find_all(element):
            if found.get(attribute):
                yield element, found


def address(found):
    return found.get("href") or found.get("src")


def test_the_page_is_there_and_has_a_title(page):
    assert page.exists()
    assert soup(page).find("h1") is not None


def test_the_root_leads_to_the_landing_page():
    assert "book/index.html" in (HTML / "index.html").read_text()


def test_no_traceback_or_warning_is_shown(page):
    text = soup(page).get_text()
    for sign in ("Traceback (most recent call last)", "System Message", "Warning:", "FutureWarning", "undefined label"):
        assert sign not in text, sign
    assert not soup(page).select(".problematic, .system-message, .output.stderr, .traceback")


def test_internal_links_and_images_lead_somewhere(page):
    broken = []
    for _, found in targets(page):
        url, fragment = urldefrag(address(found))
        if re.match(r"[a-z]+:|//|data:", url) or found.get("rel") == ["canonical"]:
            continue
        target = (page.parent / unquote(url).split("?")[0]).resolve() if url else page
        inside = fragment and target.suffix == ".html"
        if not target.exists() or (inside and unquote(fragment) not in ids(target)):
            broken.append(address(found))
    assert broken == []


def test_images_have_alt_text(page):
    for image in soup(page).find("main").find_all("img"):
        assert image.get("alt"), image.get("src")


def test_nothing_is_fetched_from_elsewhere(page):
    outside = [address(f) for kind, f in targets(page) if kind != "a" and re.match(r"(https?:)?//", address(f))]
    assert outside == []


def test_notebook_pages_offer_their_notebook(page):
    if (ROOT / f"{page.relative_to(HTML).with_suffix('.ipynb')}").exists():
        offered = [address(f) for kind, f in targets(page) if kind == "a" and "_sources" in address(f)]
        assert any(url.endswith(".ipynb") for url in offered)


def test_search_finds_the_words_of_the_course():
    index = (HTML / "searchindex.js").read_text()
    for word in ("popcount", "binaryconnect", "dropout"):
        assert word in index


def test_the_index_leads_to_terms_and_functions():
    entries = {link.get_text() for link in soup(HTML / "genindex.html").find_all("a")}
    assert "latent weight" in entries
    assert any("binarize" in entry for entry in entries)
