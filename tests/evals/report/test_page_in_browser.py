"""The page in a real browser: no complaints on its console, its numbers there, its choices working, fit for a phone."""

import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from evals.report import write_tables_and_page
from evals.report.table import per_cent
from rag_embedder.types import Document
from tests.evals.report.fake_results import SETS, SYSTEMS, fake_results, fake_sets, write_fake_runs

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LONG = "intfloat/multilingual-e5-large-instruct?pooling=mean&instructions=none"
ATTACK = "</script><script>document.title = 'attacked'</script><img src=x onerror=\"document.title = 'attacked'\">"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium in PATH")

# Inside a frame the page is exactly as wide as a phone; a browser's window is not.
PHONE = """<!DOCTYPE html><title>waiting</title><iframe id="frame" src="report.html"
  style="width:{width}px;height:800px"></iframe><script>
document.getElementById("frame").onload = ({{ target }}) => {{
  const page = target.contentDocument;
  page.querySelector("button.all").click();
  for (const details of page.querySelectorAll("details")) details.open = true;
  document.title = page.documentElement.scrollWidth + " of " + target.contentWindow.innerWidth;
}};
</script>"""

CHOOSING = """<!DOCTYPE html><title>waiting</title><iframe id="frame" src="report.html"></iframe><script>
document.getElementById("frame").onload = ({ target }) => {
  const page = target.contentDocument;
  const choose = (id, value) => {
    page.getElementById(id).value = value;
    page.getElementById(id).dispatchEvent(new Event("change"));
  };
  const rows = () => [...page.querySelectorAll("tr.set")].filter((row) => !row.hidden).length;
  const before = rows();
  page.querySelector("button.title").click();
  const opened = rows();
  choose("set", "1");
  choose("across", "2");
  choose("up", "0");
  const text = (id) => page.getElementById(id).textContent;
  const counts = [...page.querySelectorAll("#counts dt")].map((node) => node.textContent).join("/");
  const first = page.querySelector("#gained .id").textContent;
  document.title = [before, opened, text("scatter-text"), counts, first].join(" | ");
};
</script>"""


def browse(path):
    """The page as the browser has it, and what it logged on its console."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += ["--enable-logging=stderr", "--v=0", "--virtual-time-budget=3000", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def title_of(dom):
    found = re.search(r"<title>(.*?)</title>", dom, flags=re.DOTALL)
    return "" if found is None else found[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report of three systems whose texts try to run."""
    folder = tmp_path_factory.mktemp("report")
    results = fake_results(sets=(SETS[0], SETS[3], SETS[5]), num_queries=40)
    sets = {
        key: replace(
            each,
            queries=[replace(query, text=f"{query.text} {ATTACK}") for query in each.queries],
            documents=[Document(f"{ATTACK} {each.text}", id=each.id) for each in each.documents],
        )
        for key, each in fake_sets(results).items()
    }
    write_fake_runs(results, sets, folder)
    comparisons, files = write_tables_and_page(results, folder, sets=sets)
    return results, comparisons, files.page


@pytest.fixture(scope="module")
def seen(made):
    return browse(made[2])


def test_the_browser_has_nothing_to_complain_about(seen):
    assert seen[1] == []


def test_the_check_sees_what_a_page_logs(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<script>throw new Error('here')</script>")
    assert "here" in browse(page)[1][0]


def test_the_numbers_of_the_table_are_in_the_page(made, seen):
    _, comparisons, _ = made
    for mean in [*comparisons.scenario_means.values(), *comparisons.set_means.values()]:
        assert re.search(rf">{re.escape(per_cent(mean.mean))}<", seen[0])


def test_texts_are_shown_and_do_not_run(made, seen):
    dom = seen[0]
    assert title_of(dom) == "Three systems, three scenarios: nDCG@10"
    assert "<img" not in dom
    assert dom.split('id="gained"')[1].count("&lt;img src=x") > 5
    assert "✓ relevant" in dom
    assert "judged not relevant" in dom


def test_sets_fold_and_two_systems_can_be_chosen(made):
    results, _, page = made
    frame = page.with_name("choosing.html")
    frame.write_text(CHOOSING)
    dom, console = browse(frame)
    assert console == []
    key = SETS[3][2]
    a, b = (next(each for each in results.results if (each.system, each.key) == (name, key)) for name in SYSTEMS[::-2])
    before, after = a.values["nDCG@10"], b.values["nDCG@10"]
    better = sum(after[query] > before[query] for query in before)
    worse = sum(after[query] < before[query] for query in before)
    most = min(before, key=lambda query: (-round(1000 * after[query]) + round(1000 * before[query]), query))
    difference = f"{100 * (b.mean('nDCG@10') - a.mean('nDCG@10')):+.1f}".replace("-", "\N{MINUS SIGN}")
    assert title_of(dom).split(" | ") == [
        "0",
        "1",
        f"{key}: e5-base {per_cent(a.mean('nDCG@10'))}, bm25 {per_cent(b.mean('nDCG@10'))}, "
        f"a difference of {difference} points.",
        f"{better}/{len(before) - better - worse}/{worse}",
        most,
    ]


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_never_scrolls_sideways(tmp_path, width):
    results = fake_results((*SYSTEMS, LONG, "x" * 60, "z"), SETS[:4], num_queries=10)
    results = replace(results, skipped={"s" * 80: "r" * 200})
    sets = fake_sets(results)
    for key, each in sets.items():
        sets[key] = replace(each, queries=[replace(query, text="q" * 300) for query in each.queries])
    write_fake_runs(results, sets, tmp_path)
    write_tables_and_page(results, tmp_path, sets=sets)
    frame = tmp_path / "phone.html"
    frame.write_text(PHONE.format(width=width))
    dom, console = browse(frame)
    assert console == []
    page_width, window = map(int, title_of(dom).split(" of "))
    assert window == width
    assert page_width <= window


def test_one_system_alone_makes_a_page_too(tmp_path):
    page = write_tables_and_page(fake_results(("bm25",), SETS[:1], num_queries=10), tmp_path, sets={})[1].page
    dom, console = browse(page)
    assert console == []
    assert "One system, one scenario" in dom
