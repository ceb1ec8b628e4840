"""The Markdown tables, letter by letter."""

from dataclasses import replace

from evals.report.markdown import results_table
from tests.evals.report.fake_results import PROVENANCE
from tests.evals.report.hand_made import BASELINE, hand_made_comparisons, hand_made_results

HEAD = """\
<!-- Made by `python -m evals run --systems bm25,default,e5-base --suite all` at commit 1234567890ab. Do not edit. -->

nDCG@10 in per cent; a scenario counts each of its sets the same. Best in bold; ▲ better, ▼ worse than bm25 \
(paired randomisation test, p < 0.05, adjusted for the number of systems).

"""
FULL = """\
| suite | scenario | set | split | queries | documents | source | bm25 | new |
| --- | --- | --- | --- | ---: | ---: | --- | ---: | ---: |
| knowledge | qa | knowledge/a | test | 2 | 1,234 | zero-shot | 50.0 | **70.0** ▲ |
| knowledge | qa | knowledge/b | dev | 2 | 10 | in-domain | 30.0 | **60.0** |
|  | qa | mean of 2 sets |  | 4 |  |  | 40.0 [30.0, 50.0] | **65.0** [55.0, 75.0] ▲ |
| custom | legal | c.d | test | 2 | 7 |  | 90.0 | \N{EN DASH} |
|  | legal | mean of 1 set |  | 2 |  |  | 90.0 [80.0, 100.0] | \N{EN DASH} |
"""
SHORT = """\
| scenario | sets | queries | bm25 | new |
| --- | ---: | ---: | ---: | ---: |
| Knowledge (qa) | 2 | 4 | 40.0 | **65.0** ▲ |
| legal | 1 | 2 | 90.0 | \N{EN DASH} |
"""


def test_the_full_table():
    assert results_table(hand_made_results(), hand_made_comparisons()) == HEAD + FULL


def test_the_short_table():
    assert results_table(hand_made_results(), hand_made_comparisons(), short=True) == HEAD + SHORT


def test_uncommitted_changes_are_said():
    results = hand_made_results(provenance={**PROVENANCE, "is_clean": False})
    assert "at commit 1234567890ab, with uncommitted changes." in results_table(results, hand_made_comparisons())


def test_a_command_cannot_end_the_comment():
    results = hand_made_results(provenance={**PROVENANCE, "command": "evals --> <b>\nnext"})
    first, second, *_ = results_table(results, hand_made_comparisons()).splitlines()
    assert first.count("-->") == 1
    assert first.endswith("-->")
    assert second == ""


def test_without_a_baseline_nothing_is_said_of_tests():
    found = replace(hand_made_comparisons(), baseline=None, by_set={}, by_scenario={}, adjusted={})
    table = results_table(hand_made_results(systems=(BASELINE,)), found)
    assert "randomisation" not in table
    assert "| bm25 |" in table


def test_names_cannot_break_the_table():
    name = "a|b<c>`d`\\"
    results = hand_made_results(systems=(BASELINE, name))
    header = next(line for line in results_table(results, hand_made_comparisons()).splitlines() if "| suite" in line)
    assert header.endswith("| bm25 | a\\|b\\<c>\\`d\\`\\\\ |")
