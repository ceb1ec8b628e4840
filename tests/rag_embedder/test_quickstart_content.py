"""What the quickstart shows: the standard library's documentation and the data that is shipped with it."""

import subprocess
import sys
from collections import Counter

from rag_embedder.quickstart.content import load_conversations, load_demonstrations, load_dialogue, load_requests
from rag_embedder.quickstart.standard_library import MAX_WORDS, function_tools, module_documents
from rag_embedder.retrievers.turns import group_exchanges
from rag_embedder.tool_schema import as_tool, tool_text


def test_documents_cover_the_standard_library_in_short_pieces() -> None:
    documents = module_documents()
    by_id = {document.id: document for document in documents}
    assert len(by_id) == len(documents)
    assert 700 < len(documents) <= 1500
    assert all(0 < len(document.text.split()) <= MAX_WORDS for document in documents)
    assert "multi-producer" in by_id["queue"].text
    assert by_id["queue"].metadata == {"module": "queue", "kind": "module", "source": "queue.py"}
    assert by_id["configparser.ConfigParser"].metadata["kind"] == "class"
    assert by_id["threading.Condition"].title == "threading.Condition"
    assert {"math", "itertools.chain", "datetime.datetime", "json", "collections.deque"} <= by_id.keys()


def test_a_long_docstring_is_split_without_losing_a_word() -> None:
    import argparse

    parts = [d for d in module_documents() if d.title == "argparse"]
    assert [d.id for d in parts[:2]] == ["argparse", "argparse#2"]
    assert " ".join(d.text for d in parts).split() == str(argparse.__doc__).split()


def test_diagrams_and_tables_are_left_out_and_headings_kept() -> None:
    by_id = {document.id: document for document in module_documents()}
    diagram = by_id["concurrent.futures.process"].text
    assert "diagram and text describe the data-flow" in diagram
    assert "+----" not in " ".join(d.text for d in by_id.values() if d.title == "concurrent.futures.process")
    assert "+===" not in by_id["json.decoder.JSONDecoder"].text
    statistics = " ".join(d.text for d in by_id.values() if d.title == "statistics")
    assert "Calculating averages" in statistics


def test_tools_are_the_public_functions_with_their_parameters() -> None:
    tools = function_tools()
    by_name = {tool.name: tool for tool in tools}
    assert len(by_name) == len(tools)
    assert 1000 < len(tools) <= 2000
    assert [tool.name for tool in tools] == sorted(by_name)
    assert {
        "math.sqrt",
        "random.randint",
        "os.path.join",
        "itertools.combinations",
        "builtins.sorted",
    } <= by_name.keys()
    copytree = by_name["shutil.copytree"]
    assert copytree.description.startswith("Recursively copy a directory tree")
    assert copytree.parameters["required"] == ["src", "dst"]
    assert copytree.parameters["properties"]["symlinks"] == {"type": "boolean", "default": False}
    assert copytree.metadata == {"module": "shutil"}
    assert by_name["math.gcd"].description.startswith("Greatest Common Divisor")


def test_every_tool_passes_the_checks_of_a_registry() -> None:
    for tool in function_tools():
        assert tool_text(as_tool(tool)).startswith(f"{tool.name}: ")


def test_private_test_and_retired_modules_are_left_out() -> None:
    modules = {str(document.metadata["module"]) for document in module_documents()}
    modules |= {str(tool.metadata["module"]) for tool in function_tools()}
    parts = {part for module in modules for part in module.split(".")}
    assert not [part for part in parts if part.startswith("_")]
    assert not parts & {"test", "tests", "idlelib", "lib2to3", "turtledemo", "antigravity", "this", "imp", "telnetlib"}


def test_collecting_twice_gives_the_same_in_the_same_order() -> None:
    script = (
        "from rag_embedder.quickstart.standard_library import *\nimport hashlib\n"
        "rows = [(d.id, d.text) for d in module_documents()] + [(t.name, t.description) for t in function_tools()]\n"
        "print(hashlib.sha256(repr(rows).encode()).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, env={"PYTHONHASHSEED": seed}, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


def test_collecting_opens_no_window_and_imports_no_gui_module() -> None:
    script = (
        "import sys\nfrom rag_embedder.quickstart.standard_library import *\n"
        "module_documents(); function_tools()\n"
        "assert not {'tkinter', 'turtle', 'webbrowser', 'antigravity', 'this'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == ""


def test_the_dialogue_has_two_users_whose_facts_conflict() -> None:
    sessions = load_dialogue()
    turns = Counter({user: sum(len(s.turns) for s in sessions if s.user == user) for user in ("nora", "tomas")})
    assert turns == {"nora": 60, "tomas": 16}
    names = [(session.user, session.session) for session in sessions]
    assert len(set(names)) == len(names) == 8
    assert names == sorted(names)
    for session in sessions:
        assert [turn.role for turn in session.turns] == ["user", "assistant"] * (len(session.turns) // 2)
    said = {u: " ".join(t.content for s in sessions if s.user == u for t in s.turns) for u in ("nora", "tomas")}
    assert "allergic to hazelnuts" in said["nora"]
    assert "no allergies at all" in said["tomas"]
    assert "17th of May" in said["nora"]
    assert "9th of October" in said["tomas"]


def test_demonstrations_are_sixteen_for_each_of_five_tasks() -> None:
    demonstrations = load_demonstrations()
    assert Counter(demonstration.task for demonstration in demonstrations) == dict.fromkeys(
        ["sentiment", "ticket-routing", "unit-conversion", "question-to-sql", "entity-extraction"], 16
    )
    assert len({demonstration.text for demonstration in demonstrations}) == 80
    labels = {demonstration.output for demonstration in demonstrations if demonstration.task == "sentiment"}
    assert labels == {"positive", "negative", "neutral"}


def test_the_sql_demonstrations_are_valid_sql() -> None:
    import re
    import sqlite3

    for demonstration in load_demonstrations():
        if demonstration.task == "question-to-sql":
            connection = sqlite3.connect(":memory:")
            for table, columns in re.findall(r"(\w+)\((\w+(?:, \w+)*)\)", demonstration.input):
                connection.execute(f"CREATE TABLE {table} ({columns})")
            connection.execute(demonstration.output)
            connection.close()


def test_the_sums_in_the_unit_demonstrations_are_right() -> None:
    import re

    checked = 0
    for demonstration in load_demonstrations():
        if demonstration.task != "unit-conversion":
            continue
        working = demonstration.output.partition(" Answer:")[0].replace(",", "")
        for left, right in re.findall(r"([\d.() ]+(?:[-+x/][\d.() ]+)+)= ([\d.]*\d)", working):
            checked += 1
            assert abs(eval(left.replace("x", "*")) - float(right)) < 1e-9, demonstration.input
    assert checked >= 15


def test_conversations_end_with_a_turn_of_the_user() -> None:
    conversations = [conversation.turns for conversation in load_conversations()]
    assert [len(turns) for turns in conversations] == [5] * 8
    for turns in conversations:
        assert [turn.role for turn in turns] == ["user", "assistant", "user", "assistant", "user"]


def test_there_are_requests_for_each_retriever_and_none_twice() -> None:
    requests = load_requests()
    assert {name: len(asked) for name, asked in requests.items()} == {
        "knowledge": 15,
        "memory": 17,
        "demonstrations": 13,
        "tools": 23,
    }
    assert len({request.text for asked in requests.values() for request in asked}) == 68


def test_what_is_wanted_is_there_to_be_found() -> None:
    requests = load_requests()
    documents = {document.id for document in module_documents()}
    asked = [*requests["knowledge"], *load_conversations()]
    assert all(set(request.wanted) <= documents and request.wanted for request in asked)
    tools = {tool.name for tool in function_tools()}
    assert all(set(request.wanted) <= tools and request.wanted for request in requests["tools"])
    tasks = {demonstration.task for demonstration in load_demonstrations()}
    assert all(set(request.wanted) <= tasks and request.wanted for request in requests["demonstrations"])
    turns = {
        f"{session.session}/{number}"
        for session in load_dialogue()
        if session.user == "nora"
        for number in range(len(group_exchanges(session.turns)))
    }
    assert all(set(request.wanted) <= turns and request.wanted for request in requests["memory"])
