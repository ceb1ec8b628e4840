"""The program as a person uses it: what it prints, what it leaves on disk, how it fails."""

import gzip
import json
import subprocess
import sys

import pytest

from rag_embedder.cli.program import main

FAQ = [
    {"_id": "refund", "title": "Refunds", "text": "Money is returned within ten days.", "year": 2024},
    {"_id": "parcel", "title": "Parcels", "text": "A parcel takes three days to arrive.", "year": 2019},
]


@pytest.fixture
def run(minilm, monkeypatch, capsys):
    """Run the program in this process; returns (exit code, stdout, stderr)."""
    monkeypatch.setattr("rag_embedder.encoder.Embedder.load", lambda *_, **__: minilm)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["rag-embedder", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def faq(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "faq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in FAQ), encoding="utf-8")
    (folder / "note.md").write_text("# Opening hours\nThe shop opens at nine.\n", encoding="utf-8")
    return folder


def test_index_search_and_index_again(run, faq, tmp_path):
    store = tmp_path / "store"
    code, out, _ = run("index", faq, "--store", store, "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["added"], report["updated"], report["unchanged"], report["documents"]) == (3, 0, 0, 3)
    code, out, _ = run("search", "When do I get my money back?", "--store", store, "-k", 1, "--json")
    (hit,) = json.loads(out)
    assert (hit["id"], hit["rank"], hit["item"]["title"]) == ("refund", 1, "Refunds")
    assert 0.2 < hit["score"] < 1
    _, out, _ = run("index", faq, "--store", store, "--json")
    assert (json.loads(out)["added"], json.loads(out)["unchanged"]) == (0, 3)


def test_index_follows_changed_and_removed_rows(run, faq, tmp_path):
    store = tmp_path / "store"
    run("index", faq, "--store", store, "--json")
    (faq / "faq.jsonl").write_text(json.dumps({**FAQ[0], "text": "Money is never returned."}) + "\n", encoding="utf-8")
    _, out, _ = run("index", faq, "--store", store, "--json")
    report = json.loads(out)
    assert (report["added"], report["updated"], report["unchanged"], report["removed"]) == (0, 1, 1, 1)
    _, out, _ = run("search", "parcel", "--store", store, "--mode", "lexical", "--json")
    assert json.loads(out) == []


def test_unreadable_input_is_listed_and_costs_nothing(run, faq, tmp_path):
    store = tmp_path / "store"
    run("index", faq, "--store", store, "--json")
    with (faq / "faq.jsonl").open("a", encoding="utf-8") as rows:
        rows.write('{"_id": "cut", "text": "unfini')
    (faq / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00")
    code, out, _ = run("index", faq, "--store", store, "--json")
    report = json.loads(out)
    assert code == 0
    assert {(skip["path"].rpartition("/")[2], skip["line"]) for skip in report["skipped"]} == {
        ("faq.jsonl", 3),
        ("picture.txt", None),
    }
    assert (report["removed"], report["documents"]) == (0, 3)
    _, out, _ = run("index", faq, "--store", store)
    assert "faq.jsonl:3" in out


def test_a_gzipped_corpus_is_read(run, tmp_path):
    with gzip.open(tmp_path / "corpus.jsonl.gz", "wt", encoding="utf-8") as corpus:
        corpus.writelines(json.dumps(row) + "\n" for row in FAQ)
    _, out, _ = run("index", tmp_path / "corpus.jsonl.gz", "--store", tmp_path / "s", "--json")
    assert json.loads(out)["added"] == 2


def test_search_filters_before_ranking(run, faq, tmp_path):
    run("index", faq, "--store", tmp_path / "s", "--json")
    _, out, _ = run("search", "money", "--store", tmp_path / "s", "--filter", '{"year": {"lt": 2020}}', "--json")
    assert [hit["id"] for hit in json.loads(out)] == ["parcel"]


def test_search_prints_a_table_for_people(run, faq, tmp_path):
    run("index", faq, "--store", tmp_path / "s")
    _, out, _ = run("search", "money", "--store", tmp_path / "s")
    assert "refund" in out
    assert "score" in out


def test_tools_chooses_and_counts_tokens(run, tmp_path):
    schemas = [
        {"name": "forecast", "description": "Weather forecast for a city", "parameters": {"type": "object"}},
        {"name": "send_mail", "description": "Send an e-mail to someone", "inputSchema": {"type": "object"}},
    ]
    (tmp_path / "tools.json").write_text(json.dumps(schemas), encoding="utf-8")
    _, out, _ = run("tools", "weather forecast for Oslo", "--from", tmp_path / "tools.json", "-k", 1, "--json")
    answer = json.loads(out)
    assert [hit["id"] for hit in answer["hits"]] == ["forecast"]
    assert answer["hits"][0]["item"]["original"] == schemas[0]
    assert 0 < answer["schema_tokens"]["chosen"] < answer["schema_tokens"]["all_tools"]


def test_preview_shows_the_exact_text(run):
    _, out, _ = run("preview", "book a flight", "--scenario", "tool", "--json")
    shown = json.loads(out)
    assert shown["text"] == "Transform this user request for fetching helpful tool descriptions: book a flight"
    assert (shown["num_tokens"], shown["is_truncated"]) == (16, False)


def test_export_writes_a_model_folder_once(run, tmp_path):
    code, out, _ = run("export", tmp_path / "model", "--json")
    assert code == 0
    assert json.loads(out)["scenarios"] == ["qa", "convsearch", "chat", "lrlm", "icl", "tool"]
    assert (tmp_path / "model" / "model.safetensors").exists()
    code, _, err = run("export", tmp_path / "model")
    assert code == 2
    assert "already exists" in err


def test_doctor_reports_the_state_of_the_default_and_of_a_store(run, faq, tmp_path):
    run("index", faq, "--store", tmp_path / "s")
    code, out, _ = run("doctor", "--store", tmp_path / "s", "--json")
    checks = {check["name"]: check for check in json.loads(out)}
    assert code == 0
    assert "untrained" in checks["model"]["finding"]
    assert "sound: 3 passages for qa" in checks[f"store {tmp_path / 's'}"]["finding"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["search", "x", "--store", "nowhere"], 3, "no store at nowhere"),
        (["index", "nothing.txt"], 2, "does not exist"),
        (["preview", "x", "--scenario", "toool"], 2, "Did you mean 'tool'"),
        (["tools", "x"], 2, "--from FILE"),
        (["search", "x", "--filter", "{"], 2, "--filter is not JSON"),
        (["serach", "x"], 2, "serach"),
        (["search", "x", "-k", "abc"], 2, "valid integer"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(run, tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    got, out, err = run(*arguments)
    assert got == code
    assert said in err
    assert out == ""
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_help_answers_at_once_and_imports_no_model_code():
    probe = (
        "import sys, time; start = time.process_time()\n"
        "from rag_embedder.cli import main\n"
        "sys.argv = ['rag-embedder', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'faiss', 'chromadb', 'bm25s'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "print('SECONDS', time.process_time() - start)\n"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
        assert "quickstart" in done.stdout
        seconds.append(float(done.stdout.rpartition("SECONDS")[2]))
    assert min(seconds) < 0.5


def test_a_reader_that_goes_away_gets_no_traceback():
    program = [sys.executable, "-c", "from rag_embedder.cli import main; main()", "--help"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        said = process.stderr.read()
        process.wait(timeout=30)
    assert b"Traceback" not in said
