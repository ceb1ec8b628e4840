"""The page as text: it holds all it needs, escapes what it is given, and is well formed at every edge."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evals.report import html, write_tables_and_page
from evals.report.examples import choose_examples
from evals.report.html import tint, write_page
from evals.report.table import Cell
from evals.runner import run_file
from evals.significance import Interval
from rag_embedder.errors import ConfigError
from rag_embedder.types import Document
from tests.evals.report.fake_results import (
    PROVENANCE,
    SETS,
    SYSTEMS,
    fake_results,
    fake_sets,
    without,
    write_fake_runs,
)
from tests.evals.report.hand_made import comparison, hand_made_comparisons, hand_made_results

VOID = {"meta", "br", "link", "img", "input", "hr"}
LONG = "intfloat/multilingual-e5-large-instruct?pooling=mean&instructions=none"
ATTACK = '"><script>window.attacked = 1</script><img src=x onerror="window.attacked = 1">'


class Page(HTMLParser):
    """Checks that elements are balanced; collects attributes and text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.attributes, self.scripts, self.styles, self.words = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        place = self.open[-1] if self.open else ""
        {"script": self.scripts, "style": self.styles}.get(place, self.words).append(data)


def page_of(results, folder, *, sets=None, **options):
    files = write_tables_and_page(results, folder, sets=sets or {}, **options)[1]
    return files.page.read_text(encoding="utf-8")


def nothing(results):
    zero = [
        replace(each, values={name: dict.fromkeys(values, 0.0) for name, values in each.values.items()})
        for each in results.results
    ]
    return replace(results, results=zero)


EDGES = {
    "three systems": lambda: fake_results(sets=SETS[:4], num_queries=20),
    "one system and set": lambda: fake_results(("bm25",), SETS[:1], num_queries=20),
    "six systems": lambda: fake_results((*SYSTEMS, LONG, "y", "z"), SETS[:3], num_queries=20),
    "a long name twice": lambda: fake_results((LONG, f"{LONG}&x=1"), SETS[:2], num_queries=20),
    "zeros": lambda: nothing(fake_results(SYSTEMS[:2], SETS[:3], num_queries=20)),
    "no costs": lambda: fake_results(sets=SETS[:2], num_queries=20, has_costs=False),
    "a set of one system": lambda: without(fake_results(("a", "b"), SETS[:1], num_queries=20), "b", SETS[0][2]),
    "nothing known": lambda: replace(fake_results(sets=SETS[:1], num_queries=20), provenance={}, arguments={}, wall={}),
}


@pytest.mark.parametrize("edge", EDGES)
def test_the_page_is_well_formed_and_loads_nothing(tmp_path, edge):
    text = page_of(EDGES[edge](), tmp_path)
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    loading = {"src", "href", "action", "data", "poster", "srcset", "xlink:href"}
    assert [value for _, name, value in page.attributes if name in loading and not value.startswith("#")] == []
    assert [name for _, name, _ in page.attributes if name == "style" or name.startswith("on")] == []
    assert not re.search(r"url\(|@import|https?://", "".join(page.styles) + page.scripts[-1])
    for _, name, value in page.attributes:
        if name in ("aria-labelledby", "for"):
            assert set(value.split()) <= set(page.ids)
        if name == "href":
            assert value[1:] in page.ids


def test_only_the_pages_own_script_and_style_may_run(tmp_path):
    page = Page(page_of(EDGES["three systems"](), tmp_path))
    policy = next(value for tag, name, value in page.attributes if tag == "meta" and "default-src" in (value or ""))
    assert policy.startswith("default-src 'none';")
    for kind, content in (("script-src", page.scripts[-1]), ("style-src", page.styles[0])):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_texts_and_names_cannot_become_markup(tmp_path):
    results = fake_results((f"a{ATTACK}", "b"), [("s", "qa", f"k{ATTACK}.test", None)], num_queries=10)
    results = replace(
        results,
        skipped={f"set{ATTACK}": f"reason{ATTACK}"},
        provenance={**PROVENANCE, "command": ATTACK, "machine": {"processor": ATTACK}},
    )
    sets = {
        key: replace(
            each,
            queries=[replace(query, text=f"query <script>{ATTACK}") for query in each.queries],
            documents=[Document(f"</script>{ATTACK}", id=document.id, title="<!--") for document in each.documents],
        )
        for key, each in fake_sets(results).items()
    }
    write_fake_runs(results, sets, tmp_path)
    text = page_of(results, tmp_path, sets=sets)
    page = Page(text)
    assert len(page.scripts) == 2
    assert "<img" not in text
    assert "window.attacked" in page.scripts[0]  # the data hold the texts, as text
    assert not set("<>&") & set(page.scripts[0])


def test_the_page_says_what_was_run_and_what_was_left_out(tmp_path):
    results = replace(
        fake_results(sets=SETS[:1], num_queries=10, skipped={"knowledge/gone.test": "there is no folder"}),
        provenance={**PROVENANCE, "is_clean": False},
        arguments={"selection": {"limit": 20, "max_documents": 1500}},
    )
    words = " ".join(" ".join(Page(page_of(results, tmp_path)).words).split())
    assert "1 set was skipped and is in no figure knowledge/gone.test there is no folder" in words
    assert "A reduced run: at most 20 queries of each set and at most 1,500 documents." in words
    assert f"{PROVENANCE['commit']} with uncommitted changes" in words
    for known in (PROVENANCE["command"], PROVENANCE["date"], "torch 2.10.0", "A processor, 8 cores"):
        assert known in words


def test_headlines_count_scenarios_that_are_surely_better(tmp_path):
    path = write_page(hand_made_results(), hand_made_comparisons(), {}, tmp_path / "new" / "page.html")
    words = " ".join(" ".join(Page(path.read_text(encoding="utf-8")).words).split())
    assert "bm25 40.0 the baseline new 65.0 1 better ▲ Mean of 1 scenario; a scenario is the mean of its sets." in words


@pytest.mark.parametrize(
    ("difference", "expected"),
    [(0.0049, ""), (0.005, "up1"), (-0.03, "down2"), (0.1, "up4"), (-0.9, "down5"), (0.0, "")],
)
def test_cells_are_coloured_by_steps(difference, expected):
    middle = Interval(mean=0.5, low=0.4, high=0.6)
    cell = Cell(system="s", interval=middle, is_best=False, comparison=comparison(difference, p_value=0.5))
    assert tint(cell) == expected
    assert tint(replace(cell, comparison=None)) == ""


def test_a_page_of_twenty_sets_and_four_systems_is_below_three_megabytes(tmp_path):
    sets = [(suite, scenario, f"{key}{copy}", new) for copy in (1, 2) for suite, scenario, key, new in SETS][:20]
    results = fake_results((*SYSTEMS, "fourth"), sets, num_queries=670)
    texts = fake_sets(results, num_documents=300)
    only = replace(results, results=[each for each in results.results if each.key == sets[0][2]])
    write_fake_runs(only, texts, tmp_path)
    for result in results.results:  # the same ranking again and again: writing 80 files takes long
        source, target = (run_file(tmp_path, result.system, key) for key in (sets[0][2], result.key))
        if source != target:
            target.write_bytes(source.read_bytes())
    examples = choose_examples(results, tmp_path, texts, metric="nDCG@10")
    path = write_page(results, quick_comparisons(results), examples, tmp_path / "page.html")
    assert 500_000 < path.stat().st_size < 3_000_000


def test_the_same_results_make_the_same_files(tmp_path):
    results = fake_results(sets=SETS[:2], num_queries=10)
    made = [write_tables_and_page(results, tmp_path / name, sets={})[1] for name in ("a", "b")]
    for kind in ("table", "short_table", "page"):
        first, second = (getattr(files, kind).read_bytes() for files in made)
        assert first == second
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["report.html", "table-short.md", "table.md"]


def test_an_unknown_metric_writes_nothing(tmp_path):
    with pytest.raises(ConfigError, match="metric"):
        write_tables_and_page(fake_results(sets=SETS[:1]), tmp_path / "out", sets={}, metric="P@7")
    assert not (tmp_path / "out").exists()


def test_half_a_surrogate_pair_does_not_stop_the_page(tmp_path):
    results = fake_results(("a\ud800", "b"), SETS[:1], num_queries=5)
    assert "a?" in page_of(results, tmp_path)


def contrast(ink, paper):
    """Contrast ratio of two colours of 0 to 255 (Web Content Accessibility Guidelines 2.2)."""
    light = []
    for colour in (ink, paper):
        parts = [each / 255 for each in colour]
        linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
        light.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(light) + 0.05) / (min(light) + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_can_be_read_on_every_shade(scheme):
    style = (Path(html.__file__).parent / "style.css").read_text(encoding="utf-8")
    named = dict(re.findall(r"--([\w-]+): ([^;]+);", re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)[scheme]))

    def colour(name):
        value = named[name]
        if value.startswith("#"):
            return [int(value[place : place + 2], 16) for place in (1, 3, 5)]
        return [int(each) for each in value.split()]

    paper = colour("paper")
    for name in ("ink", "soft", "accent", "worse-ink"):
        assert contrast(colour(name), paper) >= 4.5
    shades = re.findall(r"\.(?:up|down)\d \{ background: rgb\(var\(--(\w+)\) / ([\d.]+)\)", style)
    assert len(shades) == 10
    for shade, alpha in shades:
        share = float(alpha)
        shaded = [share * top + (1 - share) * under for top, under in zip(colour(shade), paper, strict=True)]
        assert contrast(colour("ink"), shaded) >= 4.5


def quick_comparisons(results):
    """Means without tests: ten thousand draws for each of 80 results take long."""
    middle = Interval(mean=0.5, low=0.4, high=0.6)
    return replace(
        hand_made_comparisons(),
        set_means={(each.system, each.key): middle for each in results.results},
        scenario_means={(each.system, each.scenario): middle for each in results.results},
        by_set={},
        by_scenario={},
        adjusted={},
    )
