"""The program as a person uses it: what it prints, what it leaves on disk, how it fails."""

import gzip
import json
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from rag_embedder import __version__
from rag_embedder.cli.next_steps import running_program
from rag_embedder.cli.program import main
from rag_embedder.errors import StoreError
from rag_embedder.types import Document, Tool
from tests.tiny_rerankers import write_cross_encoder

PROGRAM = [sys.executable, "-c", "from rag_embedder.cli import main; main()"]

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


def test_search_orders_anew_with_a_reranker(run, faq, tmp_path):
    store, folder = tmp_path / "store", write_cross_encoder(tmp_path / "reranker")
    run("index", faq, "--store", store, "--json")
    _, out, _ = run("search", "money back", "--store", store, "--json")
    first = json.loads(out)
    code, out, _ = run("search", "money back", "--store", store, "--rerank", folder, "--json")
    found = json.loads(out)
    assert code == 0
    assert {hit["id"]: hit["retrieval_score"] for hit in found} == {hit["id"]: hit["score"] for hit in first}
    assert [hit["score"] for hit in found] == sorted((hit["score"] for hit in found), reverse=True)
    code, _, error = run("search", "money back", "--store", store, "--rerank", tmp_path / "none")
    assert code != 0
    assert "no model folder" in error


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


def test_search_prints_a_table_for_people(run, faq, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    run("index", faq, "--store", tmp_path / "s")
    _, out, _ = run("search", "money", "--store", tmp_path / "s")
    assert "refund" in out
    assert "score" in out
    note = f"{faq / 'note.md'}#Opening hours"
    assert f" {note[:8]}…{note[-15:]} " in out
    assert all(len(line) <= 80 for line in out.splitlines())
    _, out, _ = run("search", "money", "--store", tmp_path / "s", "--json")
    assert note in {hit["id"] for hit in json.loads(out)}


def test_files_of_unknown_kind_are_grouped_for_people_only(run, faq, tmp_path):
    for name in ("a.pdf", "b.PDF", "c.pdf.gz", "LICENSE", "d.docx"):
        (faq / name).write_bytes(b"x")
    _, out, _ = run("index", faq, "--store", tmp_path / "s")
    assert "5 skipped:" in out
    assert "3 files .pdf: not known" in out
    assert f"{faq / 'd.docx'}: the kind '.docx' is not known" in out
    assert f"{faq / 'LICENSE'}: a file without suffix" in out
    assert "a.pdf" not in out
    _, out, _ = run("index", faq, "--store", tmp_path / "s", "--json")
    assert Counter(skip["path"].rpartition("/")[2] for skip in json.loads(out)["skipped"]) == {
        name: 1 for name in ("a.pdf", "b.PDF", "c.pdf.gz", "LICENSE", "d.docx")
    }
    assert set(json.loads(out)["skipped"][0]) == {"path", "line", "reason"}


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


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("bad.jsonl", '{"name": "a"}\n\n{"name": "b"', "bad.jsonl:3: not JSON"),
        ("bad.json", '[{"name": "a"},\n{"name": ]', "bad.json:2: not JSON"),
        ("keys.jsonl", '{"name": "a"}\n{"title": "b"}', "keys.jsonl:2: a dict given as a tool has no 'name'"),
        ("keys.json", '[{"name": "a"}, 5]', "keys.json, schema 2: a int"),
        ("text.json", '"tools"', "text.json holds a JSON str"),
    ],
)
def test_a_tool_that_cannot_be_read_is_named_with_its_place(run, tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    code, out, err = run("tools", "x", "--from", tmp_path / name, "--store", tmp_path / "s")
    assert (code, out) == (2, "")
    assert said in err
    assert not (tmp_path / "s").exists()


def test_tools_of_a_store_without_tools_says_what_it_holds(run, faq, tmp_path):
    run("index", faq, "--store", tmp_path / "s")
    code, out, err = run("tools", "weather", "--store", tmp_path / "s")
    assert (code, out) == (3, "")
    assert "holds 3 passages; expected tools" in err


def test_nothing_found_is_no_saving(run, tmp_path):
    (tmp_path / "tools.json").write_text('[{"name": "forecast", "description": "Weather"}]')
    _, out, _ = run("tools", " ", "--from", tmp_path / "tools.json")
    assert out == "nothing found\n"


def test_preview_shows_the_exact_text(run):
    _, out, _ = run("preview", "book a flight", "--scenario", "tool", "--json")
    shown = json.loads(out)
    assert shown["text"] == "book a flight"
    assert (shown["num_tokens"], shown["is_truncated"]) == (5, False)


def test_export_writes_a_model_folder_once(run, tmp_path):
    code, out, _ = run("export", tmp_path / "model", "--json")
    assert code == 0
    assert json.loads(out)["scenarios"] == ["qa", "convsearch", "chat", "lrlm", "icl", "tool"]
    assert (tmp_path / "model" / "model.safetensors").exists()
    code, _, err = run("export", tmp_path / "model")
    assert code == 2
    assert "already exists" in err


def test_doctor_reports_the_state_of_the_default_and_of_a_store(run, faq, tmp_path, minilm):
    run("index", faq, "--store", tmp_path / "s")
    code, out, _ = run("doctor", "--store", tmp_path / "s", "--json")
    checks = {check["name"]: check for check in json.loads(out)}
    assert code == 0
    assert minilm.training_state in checks["model"]["finding"]
    assert "sound: 3 passages for qa" in checks[f"store {tmp_path / 's'}"]["finding"]


def test_a_fault_that_doctor_finds_is_its_exit_code(run, tmp_path):
    code, out, _ = run("doctor", "--store", tmp_path / "nowhere", "--json")
    assert code == 1
    assert [check["name"] for check in json.loads(out) if not check["is_fine"]] == [f"store {tmp_path / 'nowhere'}"]


def test_doctor_fits_80_columns(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run("doctor")
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "384 dimensions" in out
    assert "Embedder(" not in out


def test_the_version_is_told(run):
    assert run("--version") == (0, f"rag-embedder {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--debug", "search", "x", "--store", "nowhere"],
        ["search", "--debug", "x", "--store", "nowhere"],
        ["search", "x", "--store", "nowhere", "--debug"],
    ],
)
def test_debug_shows_the_traceback_wherever_it_stands(run, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="no store at nowhere"):
        run(*arguments)


def test_debug_after_two_dashes_is_an_argument(run):
    _, out, _ = run("preview", "--json", "--", "--debug")
    assert json.loads(out)["text"] == "--debug"


def test_interrupted_indexing_says_so(tiny_folder, tmp_path):
    rows = "".join(json.dumps({"text": f"number {number} of many"}) + "\n" for number in range(100_000))
    (tmp_path / "many.jsonl").write_text(rows)
    # Tests that a shell started in the background inherit an ignored SIGINT, and so would the program.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = [sys.executable, "-c", f"{heeding}; from rag_embedder.cli import main; main()"]
    command = [*program, "index", tmp_path / "many.jsonl", "--store", tmp_path / "s", "--model", tiny_folder, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "s" / "STORE").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.endswith("rag-embedder: interrupted; what was added before is kept, run the same command to go on.\n")
    assert "Traceback" not in err
    assert out == ""


def test_json_is_all_that_index_writes_to_standard_output(tiny_folder, faq, tmp_path):
    command = [*PROGRAM, "index", faq, "--store", tmp_path / "s", "--model", tiny_folder, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["added"] == 3


def test_the_commands_that_quickstart_prints_run_as_printed(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    documents, tools = [Document("Dates are parsed.", id="dates")], [Tool("zip", "Compress a folder into a file.")]
    monkeypatch.setattr("rag_embedder.quickstart.run.module_documents", lambda: documents)
    monkeypatch.setattr("rag_embedder.quickstart.run.function_tools", lambda: tools)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    _, out, _ = run("quickstart", "--dir", "my data", "--model", "a model")
    commands = [shlex.split(line) for line in out.splitlines() if line.startswith("  rag-embedder ")]
    assert [command[1] for command in commands] == ["search", "tools", "preview", "index", "search", "doctor"]
    assert all(command[-2:] == ["--model", "a model"] for command in commands)
    assert all(command[command.index("--mode") + 1] == "hybrid" for command in commands[:2])
    for command in [*commands[:3], commands[-1]]:
        code, _, err = run(*command[1:])
        assert (code, err) == (0, "")


@pytest.mark.parametrize(
    ("place", "typed"), [("env/bin", "env/bin/rag-embedder"), (".", "./rag-embedder"), ("..", "{}/rag-embedder")]
)
def test_a_program_that_no_shell_finds_is_named_by_its_path(tmp_path, monkeypatch, place, typed):
    here = tmp_path / "here"
    folder = (here / place).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    here.mkdir(exist_ok=True)
    (folder / "rag-embedder").touch()
    monkeypatch.chdir(here)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(sys, "argv", [str(folder / "rag-embedder")])
    assert running_program() == typed.format(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["search", "x", "--store", "nowhere"], 3, "no store at nowhere"),
        (["index", "nothing.txt"], 2, "does not exist"),
        (["index", ".", "--scenario", "bogus"], 2, "unknown scenario 'bogus'"),
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
    with subprocess.Popen([*PROGRAM, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        said = process.stderr.read()
        process.wait(timeout=30)
    assert b"Traceback" not in said
