"""Recipes: what TOML and overrides come to, the way back, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_embedder.errors import ConfigError
from rag_embedder.scenario import Scenario
from trainer.losses import LossSettings
from trainer.recipe import DataSettings, ModelSettings, Recipe, TrainSettings, load_recipe, recipe_to_toml, save_recipe
from trainer.usable_examples import Requirements

SMALL = """
[train]
steps = 10
out = "runs/small"

[[data]]
name = "qa"
path = "qa.jsonl"
scenario = "qa"
loss = "contrastive"
"""

FULL = """
[model]
base = "folder/of/model"
pooling = "cls"
max_length = 128
lora_rank = 8
dtype = "bfloat16"

[train]
steps = 100
out = "runs/full"
learning_rate = 1
matryoshka_dims = [64, 128]
self_paced = true
eval_every = 10
patience = 3

[[data]]
name = "qa"
path = "qa.jsonl"
dev = "qa.dev.jsonl"
scenario = "qa"
loss = { graded_distillation = 1, contrastive = 0.2 }
reward_temperature = 0.1
reward_margin = 0.5

[[data]]
name = "code"
path = "code"
scenario = "code"
loss = { contrastive = 1.0 }
max_examples = 1000
weight = 2.0

[[scenario]]
name = "code"
query_instruction = "Find code for: "
"""


@pytest.fixture
def recipe_file(tmp_path):
    def write(text):
        path = tmp_path / "recipe.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_small_recipe_gets_the_papers_settings(recipe_file):
    recipe = load_recipe(recipe_file(SMALL))
    assert recipe.model == ModelSettings(base=None, pooling=None, max_length=None, lora_rank=0, dtype="float32")
    assert recipe.train == TrainSettings(steps=10, out="runs/small")
    train = recipe.train
    assert (train.learning_rate, train.warmup, train.weight_decay, train.group_size) == (5e-6, 0.2, 0.01, 8)
    assert recipe.data == (DataSettings(name="qa", path="qa.jsonl", scenario="qa", loss={"contrastive": 1.0}),)


def test_every_table_is_read(recipe_file):
    recipe = load_recipe(recipe_file(FULL))
    assert recipe.model == ModelSettings(
        base="folder/of/model", pooling="cls", max_length=128, lora_rank=8, dtype="bfloat16"
    )
    assert (recipe.train.learning_rate, recipe.train.matryoshka_dims) == (1.0, (64, 128))
    assert isinstance(recipe.train.learning_rate, float)
    assert [settings.name for settings in recipe.data] == ["qa", "code"]
    assert recipe.scenario == (Scenario("code", "Find code for: ", ""),)
    assert recipe.scenario_names == ["qa", "convsearch", "chat", "lrlm", "icl", "tool", "code"]


def test_a_data_set_says_how_it_is_fitted_and_what_its_examples_need(recipe_file):
    qa = load_recipe(recipe_file(FULL)).data[0]
    assert qa.loss_settings == LossSettings(
        weights={"graded_distillation": 1.0, "contrastive": 0.2}, reward_temperature=0.1
    )
    assert qa.requirements(4) == Requirements(size=4, reward_margin=0.5)


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("train.steps=7", lambda recipe: recipe.train.steps, 7),
        ("train.learning_rate=1e-4", lambda recipe: recipe.train.learning_rate, 1e-4),
        ("train.self_paced=false", lambda recipe: recipe.train.self_paced, False),
        ("train.matryoshka_dims=[32, 64]", lambda recipe: recipe.train.matryoshka_dims, (32, 64)),
        ("train.out=runs/a=b", lambda recipe: recipe.train.out, "runs/a=b"),
        ('train.out="quoted"', lambda recipe: recipe.train.out, "quoted"),
        ("train.out=2026", lambda recipe: recipe.train.out, "2026"),
        ("model.base=", lambda recipe: recipe.model.base, None),
        ("model.pooling=mean", lambda recipe: recipe.model.pooling, "mean"),
        ("data.code.max_examples=", lambda recipe: recipe.data[1].max_examples, None),
        ("data.code.path=other.jsonl", lambda recipe: recipe.data[1].path, "other.jsonl"),
        ("data.qa.loss=kl_distillation", lambda recipe: recipe.data[0].loss, {"kl_distillation": 1.0}),
        (
            "data.qa.loss.contrastive=0.5",
            lambda recipe: recipe.data[0].loss,
            {"graded_distillation": 1.0, "contrastive": 0.5},
        ),
    ],
)
def test_an_override_changes_one_value(recipe_file, override, read, expected):
    before = load_recipe(recipe_file(FULL))
    after = load_recipe(recipe_file(FULL), [override])
    assert read(after) == expected
    assert before.data[0].path == after.data[0].path


def test_spaces_at_the_end_are_part_of_a_value_only_in_quotes(recipe_file):
    for written, expected in (("Code: ", "Code:"), ('"Code: "', "Code: ")):
        recipe = load_recipe(recipe_file(FULL), [f"scenario.code.document_instruction={written}"])
        assert recipe.scenario == (Scenario("code", "Find code for: ", expected),)


def test_a_loss_named_without_weight_can_get_a_second_one(recipe_file):
    recipe = load_recipe(recipe_file(SMALL), ["data.qa.loss.kl_distillation=2"])
    assert recipe.data[0].loss == {"contrastive": 1.0, "kl_distillation": 2.0}


def test_overrides_make_a_recipe_whole(recipe_file):
    recipe = load_recipe(recipe_file(SMALL.replace("steps = 10", "")), ["train.steps=3", "model.lora_rank=4"])
    assert (recipe.train.steps, recipe.model.lora_rank) == (3, 4)


@pytest.mark.parametrize("text", [SMALL, FULL])
def test_the_resolved_recipe_reads_back_as_itself(recipe_file, tmp_path, text):
    recipe = load_recipe(recipe_file(text))
    saved = save_recipe(recipe, tmp_path / "resolved.toml")
    assert load_recipe(saved) == recipe
    assert "group_size = 8\n" in saved.read_text(encoding="utf-8")


# TOML is Unicode without surrogates; an instruction may hold any character of it.
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    rate=st.floats(1e-30, 1e30),
    dims=st.sets(st.integers(1, 4096)),
)
def test_any_value_survives_toml(tmp_path_factory, text, rate, dims):
    recipe = Recipe(
        model=ModelSettings(base=text),
        train=TrainSettings(steps=1, out=text, learning_rate=rate, matryoshka_dims=tuple(sorted(dims))),
        data=[DataSettings(name="qa", path=text, scenario="s", loss={"contrastive": rate})],
        scenario=[Scenario("s", text, text)],
    )
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(recipe_to_toml(recipe).encode())
    again = load_recipe(path)
    assert (again.model, again.train) == (recipe.model, recipe.train)
    assert (list(again.data), list(again.scenario)) == (recipe.data, recipe.scenario)


def refused(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("steps = 10", "stepps = 10", "unknown key in train: 'stepps'"),
        ("steps = 10", "stepps = 10", "Did you mean 'steps'?"),
        ('path = "qa.jsonl"', 'pth = "qa.jsonl"', "unknown key in data.qa: 'pth'"),
        ("[train]", "[trian]", "Did you mean 'train'?"),
        ("steps = 10", "", "train.steps is missing"),
        ("steps = 10", "steps = 0", "train.steps is 0; expected 1 or more"),
        ("steps = 10", "steps = true", "train.steps is true; expected a whole number"),
        ("steps = 10", "steps = 1.5", "train.steps is 1.5; expected a whole number"),
        ("steps = 10", "steps = 10\nself_paced = 1", "train.self_paced is 1; expected true or false"),
        ("steps = 10", "steps = 10\nself_paced_every = 0", "train.self_paced_every is 0; expected 1 or more"),
        ("steps = 10", "steps = 10\nclip = inf", "train.clip is inf"),
        ("steps = 10", "steps = 10\nlearning_rate = nan", "train.learning_rate is nan"),
        ("steps = 10", "steps = 10\nlearning_rate = '1'", "train.learning_rate is '1'; expected a number"),
        ("steps = 10", "steps = 10\nwarmup = 1.0", "train.warmup is 1.0; expected a share from 0 to below 1"),
        ("steps = 10", "steps = 10\nmatryoshka_dims = [64, 32]", "train.matryoshka_dims is [64, 32]"),
        ("steps = 10", "steps = 10\nmatryoshka_dims = 64", "expected a list of whole numbers"),
        ("steps = 10", "steps = 10\ngroup_size = 1", "train.group_size is 1; expected 2 or more"),
        ("steps = 10", "steps = 10\neval_every = 5", "no data set has a dev split"),
        ("steps = 10", "steps = 10\npatience = 2", "train.eval_every is 0"),
        ('out = "runs/small"', 'out = ""', "train.out is empty"),
        ('loss = "contrastive"', 'loss = "constrastive"', "data.qa: unknown loss 'constrastive'"),
        ('loss = "contrastive"', 'loss = "constrastive"', "Did you mean 'contrastive'?"),
        ('loss = "contrastive"', "loss = {}", "data.qa: no loss has a weight above 0"),
        ('loss = "contrastive"', "loss = 3", "data.qa.loss is 3; expected a table of name = number"),
        ('loss = "contrastive"', 'loss = {contrastive = "1"}', "data.qa.loss.contrastive is '1'"),
        ('loss = "contrastive"', "", "data.qa.loss is missing"),
        ('scenario = "qa"', 'scenario = "tools"', "unknown scenario in data.qa.scenario: 'tools'"),
        ('scenario = "qa"', 'scenario = "tools"', "Did you mean 'tool'?"),
        ('name = "qa"', 'name = "q.a"', "data.name is 'q.a'"),
        ('name = "qa"', 'name = "qa"\npositive = "best"', "unknown value of data.qa.positive: 'best'"),
        ('name = "qa"', 'name = "qa"\nstudent_temperature = 0', "data.qa: student_temperature is 0.0"),
        ('name = "qa"', 'name = "qa"\nweight = -1', "data.qa.weight is -1.0; expected 0 or more"),
        ("[[data]]", "[data]", "data is a table; expected tables [[data]]"),
        ("[train]", "[train", "cannot be read"),
    ],
)
def test_a_wrong_recipe_is_refused_by_file_and_key(recipe_file, old, new, expected):
    path = recipe_file(SMALL.replace(old, new, 1))
    message = refused(path)
    assert expected in message
    assert str(path) in message


def test_two_data_sets_need_two_names(recipe_file):
    assert "data.name 'qa' occurs twice" in refused(recipe_file(SMALL + SMALL[SMALL.index("[[data]]") :]))


def test_a_recipe_needs_data_and_a_table_for_training(recipe_file):
    assert "data is empty" in refused(recipe_file(SMALL[: SMALL.index("[[data]]")]))
    assert "[train] is missing" in refused(recipe_file(SMALL[SMALL.index("[[data]]") :]))


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert f"{tmp_path / 'none.toml'} does not exist" in refused(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("steps=3", "expected key=value with a dotted key"),
        ("train.steps", "expected key=value with a dotted key"),
        ("tran.steps=3", "Did you mean 'train'?"),
        ("train.step=3", "Did you mean 'steps'?"),
        ("data.qq.path=x", "unknown data name 'qq'; expected one of: qa."),
        ("data.qa.pth=x", "Did you mean 'path'?"),
        ("train.steps.more=1", "train.steps has no keys inside"),
        ("train.steps=many", "train.steps is 'many'; expected a whole number"),
        ("data.qa.loss.contrastiv=1", "Did you mean 'contrastive'?"),
    ],
)
def test_a_wrong_override_is_refused_as_it_was_typed(recipe_file, override, expected):
    message = refused(recipe_file(SMALL), override)
    assert expected in message
    assert override in message


def test_training_can_be_limited_to_scenarios(recipe_file):
    both = recipe_file(FULL)
    one = load_recipe(both, ['train.scenarios=["code"]', "train.eval_every=0", "train.patience=0"])
    # qa has a dev split, so it is still measured
    assert [(settings.name, settings.is_trained) for settings in one.data] == [("qa", False), ("code", True)]
    assert [settings.is_trained for settings in load_recipe(both).data] == [True, True]
    assert 'scenarios = ["code"]' in recipe_to_toml(one)
    other = load_recipe(both, ['train.scenarios=["qa"]'])
    assert [settings.name for settings in other.data] == ["qa"]


def test_a_set_of_weight_0_needs_no_path_but_a_dev_split(recipe_file):
    measured = """
[[data]]
name = "unseen"
dev = "unseen.dev.jsonl"
scenario = "qa"
loss = "contrastive"
weight = 0
"""
    recipe = load_recipe(recipe_file(SMALL + measured))
    assert [settings.is_trained for settings in recipe.data] == [True, False]
    path = recipe_file(SMALL + measured)
    with pytest.raises(ConfigError, match=r"data\.unseen\.weight is 0 and it has no dev split"):
        load_recipe(path, ["data.unseen.dev="])
    with pytest.raises(ConfigError, match=r"data\.unseen\.path"):
        load_recipe(path, ["data.unseen.weight=1"])
    with pytest.raises(ConfigError, match="data has nothing to train on"):
        load_recipe(path, ["data.qa.weight=0", "data.qa.dev=qa.jsonl"])


def test_an_unknown_scenario_to_be_trained_is_named(recipe_file):
    with pytest.raises(ConfigError, match=r"train\.scenarios.*'tol'.*code"):
        load_recipe(recipe_file(FULL), ['train.scenarios=["tol"]'])
    with pytest.raises(ConfigError, match=r"train\.scenarios is 1; expected text"):
        load_recipe(recipe_file(FULL), ["train.scenarios=[1]"])


def test_instructions_are_the_bases_own_unless_the_recipe_names_others(recipe_file):
    assert load_recipe(recipe_file(SMALL)).model.instructions is None
    assert load_recipe(recipe_file(SMALL), ["model.instructions=none"]).model.instructions == "none"
    with pytest.raises(ConfigError, match=r"model\.instructions.*'non'.*none"):
        load_recipe(recipe_file(SMALL), ["model.instructions=non"])
