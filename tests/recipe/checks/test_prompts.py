"""Long prompts are counted as verl counts them, and what becomes of them is said beforehand."""

import json

import pytest
from verl.experimental.agent_loop.agent_loop import create_continuous_token_builder
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.utils.tokenizer import hf_tokenizer

from data_prep import column_addition
from data_prep.parquet import write_rows
from holderpo.benchmarks.prompt import RAW_CHAT_TEMPLATE, render
from recipe.holderpo.checks.data import look_at_data
from recipe.holderpo.checks.prompt_lengths import PromptCounter, TemplateError, prompt_counter
from recipe.holderpo.checks.prompts import look_at_prompts
from recipe.holderpo.checks.settings import ConfigError, check_config
from tests.holderpo.grading.math_files import SHARED
from tests.recipe.composing import composed
from tests.recipe.data_files import NUM_TRAIN, rows, tokenizer, write_data

FILTER = "data.filter_overlong_prompts=true"
TEMPLATE = "actor_rollout_ref.model.custom_chat_template"
CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<{{ ending | default('assistant') }}>{% endif %}"
)


@pytest.fixture
def folder(tmp_path):
    """Good files; tests write others over them."""
    write_data(tmp_path)
    return tmp_path


def configured(folder, *overrides, **values):
    config = composed(
        "demo",
        [
            f"data.train_files={folder}/train.parquet",
            f"data.val_files={folder}/heldout.parquet",
            f"actor_rollout_ref.model.path={folder}/model",
            *overrides,
        ],
    )
    config.actor_rollout_ref.model.custom_chat_template = values.get("template")
    config.data.apply_chat_template_kwargs = values.get("arguments", {})
    return config


def seen(config):
    """Problems and warnings about the prompts."""
    data = look_at_data(config)
    assert data.problems == []
    return look_at_prompts(config, data)


def with_long(count, numbers, length=19, **of_rows):
    """Rows of which some have longer prompts."""
    table = rows(count, **of_rows)
    for number in numbers:
        table[number]["prompt"][0]["content"] = "9" * (length + number) + "="
    return table


def test_the_files_of_the_demo_fit(folder):
    assert seen(configured(folder)) == ([], [])


@pytest.mark.parametrize("filters", [False, True])
def test_some_long_prompts_of_training_are_a_warning(folder, filters):
    write_rows(folder / "train.parquet", with_long(NUM_TRAIN, (4, 7)))
    config = configured(folder, *[FILTER] * filters)
    fate = (
        "data.filter_overlong_prompts leaves them out (raise data.max_prompt_length)"
        if filters
        else "verl cuts off their beginning, whatever data.truncation says (raise "
        "data.max_prompt_length, or set data.filter_overlong_prompts=true)"
    )
    line = (
        f"{config.data.train_files}: more than 18 prompt tokens (data.max_prompt_length) in 2 of "
        f"128 rows (4, 7), at most 27; {fate}"
    )
    assert seen(config) == ([], [f"data.train_files: {line}"])
    assert f"data.train_files: {line}" in check_config(config).warnings


@pytest.mark.parametrize("filters", [False, True])
@pytest.mark.parametrize(("name", "field"), [("train", "train_files"), ("heldout", "val_files")])
def test_only_long_prompts_are_refused(folder, filters, name, field):
    write_rows(folder / f"{name}.parquet", with_long(40, range(40)))
    config = configured(folder, *[FILTER] * filters)
    with pytest.raises(ConfigError) as caught:
        check_config(config)
    (line,) = caught.value.problems
    assert line.startswith(f"data.{field}: {folder}/{name}.parquet: more than 18 prompt tokens")
    assert "in all 40 rows (0, 1, 2, 3, 4, ...), at most 59; " in line
    assert line.endswith(
        "raise data.max_prompt_length"
        + ("" if filters else ", or set data.filter_overlong_prompts=true")
    )


def test_the_end_of_a_prompt_cannot_be_cut_off(folder):
    for truncation in ("error", "left"):
        assert seen(configured(folder, f"data.truncation={truncation}")) == ([], [])
    for truncation in ("right", "middle"):
        (line,) = seen(configured(folder, f"data.truncation={truncation}"))[1]
        assert line.startswith(f"data.truncation has no effect: '{truncation}', but verl's rollout")


def test_what_is_left_must_fill_a_batch(folder):
    write_rows(folder / "train.parquet", with_long(40, range(9)))
    problems, _ = seen(configured(folder, FILTER))
    assert problems == [
        "data.train_batch_size: 32, but data.train_files has 31 rows to train on (9 with long "
        "prompts left out); give at most that, or more rows"
    ]
    assert seen(configured(folder))[0] == []


def test_a_smaller_limit_of_the_rollout_cuts_what_the_filter_leaves(folder):
    write_rows(folder / "train.parquet", with_long(NUM_TRAIN, (4,), length=12))
    config = configured(folder, FILTER, "actor_rollout_ref.rollout.prompt_length=16")
    (line,) = seen(config)[1]
    assert "more than 16 prompt tokens (data.max_prompt_length) in row 4 of 128, at most 17" in line
    assert "verl cuts off their beginning" in line


def verl_lengths(config, path):
    """Tokens of each prompt: as its rollout of one turn makes them."""
    of_verl = hf_tokenizer(config.actor_rollout_ref.model.path)
    if config.actor_rollout_ref.model.custom_chat_template is not None:
        of_verl.chat_template = config.actor_rollout_ref.model.custom_chat_template
    arguments = dict(config.data.apply_chat_template_kwargs)
    builder = create_continuous_token_builder(
        of_verl, hf_model_type=None, chat_template_kwargs=arguments
    )
    config.data.filter_overlong_prompts = True
    kept = RLHFDataset(str(path), of_verl, config.data)
    config.data.filter_overlong_prompts = False
    everything = RLHFDataset(str(path), of_verl, config.data)
    lengths = [len(builder.build_initial_tokens(row["raw_prompt"])) for row in everything]
    limit = config.data.max_prompt_length
    assert len(kept) == sum(length <= limit for length in lengths)
    return lengths


@pytest.mark.parametrize(
    ("template", "arguments"),
    [
        (None, {}),
        (RAW_CHAT_TEMPLATE, {}),
        (CHAT, {}),
        (CHAT, {"ending": "a much longer ending"}),
        # What only changes the form of verl's result.
        (CHAT, {"return_dict": True}),
    ],
)
def test_tokens_are_those_of_verl(folder, template, arguments):
    column_addition.write_data(folder, seed=0, num_train=60, num_heldout=4)
    table = with_long(8, (2, 3, 6))
    table[0]["prompt"] = [
        {"role": "system", "content": "ädd"},
        {"role": "user", "content": "<end>1+1\n"},
    ]
    write_rows(folder / "heldout.parquet", table)
    for name in ("train", "heldout"):
        config = configured(folder, template=template, arguments=arguments)
        counter = prompt_counter(config)
        data = look_at_data(config)
        prompts = [row["prompt"] for split in data.splits.values() for row in split.tables[0].rows]
        prompts = prompts[:60] if name == "train" else prompts[60:]
        expected = verl_lengths(config, folder / f"{name}.parquet")
        assert counter.count(prompts, at_most=0) == expected
        limit = sorted(expected)[len(expected) // 2]
        judged = [count > limit for count in counter.count(prompts, at_most=limit)]
        assert judged == [length > limit for length in expected]


def test_a_template_that_fails_for_a_row_names_it(folder):
    table = rows(NUM_TRAIN)
    table[9]["prompt"].append({"role": "robot", "content": "x"})
    write_rows(folder / "train.parquet", table)
    refusing = "{% for m in messages %}{% if m.role == 'robot' %}{{ raise_exception('no robots') }}"
    (line,) = seen(configured(folder, template=refusing + "{% endif %}{% endfor %}"))[0]
    assert line == (
        f"data.train_files: {folder}/train.parquet: the prompt of row 9 does not go into the chat "
        "template (no robots); mend the row or the template"
    )


@pytest.mark.parametrize("name", ["tokenize", "add_generation_prompt", "tools"])
def test_arguments_of_the_template_that_verl_gives_itself(folder, name):
    config = configured(folder, arguments={name: False})
    assert seen(config)[0] == [
        f"data.apply_chat_template_kwargs.{name}: False; verl gives this argument itself, remove it"
    ]
    builder = create_continuous_token_builder(
        tokenizer(), hf_model_type=None, chat_template_kwargs={name: False}
    )
    with pytest.raises(TypeError, match=f"multiple values for keyword argument '{name}'"):
        builder.build_initial_tokens([{"role": "user", "content": "x"}])


def test_a_prompt_without_a_user_is_left_to_verl(folder):
    """It puts a user's message before it, for templates that need one."""
    table = rows(NUM_TRAIN)
    table[9]["prompt"][0]["role"] = "system"
    write_rows(folder / "train.parquet", table)
    refusing = "{% if messages[0].role != 'user' %}{{ raise_exception('no user') }}{% endif %}x"
    assert seen(configured(folder, template=refusing)) == ([], [])


def test_a_tokenizer_without_a_template_needs_one(folder):
    (folder / "model" / "chat_template.jinja").unlink()
    (line,) = seen(configured(folder))[0]
    assert line.startswith(f"{TEMPLATE}: null, and the tokenizer of {folder}/model has no chat tem")
    assert seen(configured(folder, template=RAW_CHAT_TEMPLATE)) == ([], [])


def test_a_tokenizer_that_is_broken(folder):
    (folder / "model" / "tokenizer.json").write_text("{")
    (line,) = seen(configured(folder))[0]
    assert line.startswith(f"actor_rollout_ref.model.path: the tokenizer of {folder}/model cannot")


@pytest.mark.parametrize(
    ("model", "overrides", "why"),
    [
        ("owner/name", [], "the tokenizer of owner/name is not on this machine"),
        (None, ["data.tool_config_path=tools.yaml"], "data.tool_config_path adds tools to them"),
    ],
)
def test_where_nothing_can_be_counted_one_warning_says_so(folder, model, overrides, why):
    write_rows(folder / "train.parquet", with_long(NUM_TRAIN, range(NUM_TRAIN)))
    config = configured(folder, *overrides)
    config.actor_rollout_ref.model.path = model or config.actor_rollout_ref.model.path
    line = f"data.max_prompt_length: 18; prompts are not counted: {why}"
    assert seen(config) == ([], [line])


def test_models_with_a_processor_are_not_counted(folder):
    (folder / "model" / "preprocessor_config.json").write_text("{}")
    (line,) = seen(configured(folder))[1]
    assert "has a processor of images or sound" in line


def test_a_tokenizer_in_the_hubs_cache_is_found(folder, monkeypatch):
    commit = folder / "models--owner--name" / "snapshots" / "c0ffee"
    tokenizer().save_pretrained(commit)
    (folder / "models--owner--name" / "refs").mkdir()
    (folder / "models--owner--name" / "refs" / "main").write_text("c0ffee")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    config = configured(folder)
    config.actor_rollout_ref.model.path = "owner/name"
    counter = prompt_counter(config)
    assert isinstance(counter, PromptCounter)
    assert counter.count([[{"role": "user", "content": "abc"}]], at_most=0) == [3]
    # Its own tokenizer, where one is named.
    config.actor_rollout_ref.model.tokenizer_path = str(folder / "nowhere")
    assert "nowhere is not on this machine" in prompt_counter(config)


@pytest.mark.parametrize("overrides", [["actor_rollout_ref.rollout.agent.default_agent_loop=mine"]])
def test_prompts_of_an_agent_loop_of_the_users_are_its_own(folder, overrides):
    write_rows(folder / "train.parquet", with_long(NUM_TRAIN, range(NUM_TRAIN)))
    assert seen(configured(folder, *overrides)) == ([], [])
    # But the filter looks at them first.
    assert len(seen(configured(folder, FILTER, *overrides))[0]) == 1


def test_rows_with_images_are_not_counted(folder):
    table = with_long(NUM_TRAIN, range(NUM_TRAIN))
    write_rows(folder / "train.parquet", [row | {"images": ["a.png"]} for row in table])
    assert seen(configured(folder)) == ([], [])


def renamed(warnings):
    return [line for line in warnings if "metrics call it" in line or "no number" in line]


def test_a_benchmark_that_loses_rows_is_called_otherwise(folder):
    write_rows(folder / "heldout.parquet", with_long(30, (3, 5), data_source="aime24"))
    _, warnings = seen(configured(folder, FILTER))
    assert "in 2 of 30 rows (3, 5)" in warnings[0]
    assert renamed(warnings) == [
        "data.val_files: aime24 has 28 problems here, not the benchmark's number; metrics call it "
        "aime24_28_of_30"
    ]
    # Cut off they are still all there.
    assert renamed(seen(configured(folder))[1]) == []


def test_a_benchmark_of_which_some_rows_are_drawn_is_called_otherwise(folder):
    sets = [*rows(30, data_source="aime24"), *rows(30, data_source="aime25"), *rows(9)]
    write_rows(folder / "heldout.parquet", sets)
    assert renamed(seen(configured(folder))[1]) == []
    config = configured(folder, "data.val_max_samples=40", "data.shuffle=false")
    assert renamed(seen(config)[1]) == [
        "data.val_files: aime25 has 10 problems here, not the benchmark's number; metrics call it "
        "aime25_10_of_30",
        "data.val_files: none of the 9 rows of columns are used: no number for it",
    ]


def test_two_files_of_one_benchmark_are_not_the_benchmark(folder):
    write_rows(folder / "heldout.parquet", rows(30, data_source="aime24"))
    config = configured(folder)
    config.data.val_files = [config.data.val_files] * 2
    assert "metrics call it aime24_60_of_30" in renamed(seen(config)[1])[0]


@pytest.mark.parametrize("name", ["math500", "olympiadbench"])
def test_published_problems_are_counted_as_verl_counts_them(folder, name):
    source = SHARED / f"{name}.jsonl"
    if not source.exists():
        pytest.skip(f"needs {source}")
    problems = [json.loads(line) for line in source.open(encoding="utf-8")]
    texts = [row.get("problem") or row.get("question") for row in problems]
    table = rows(len(texts), "test", data_source=name)
    for row, text in zip(table, texts, strict=True):
        row["prompt"][0]["content"] = render(text, "qwen_math")
    write_rows(folder / "heldout.parquet", table)
    config = configured(folder, "data.max_prompt_length=1024", template=RAW_CHAT_TEMPLATE)
    lengths = verl_lengths(config, folder / "heldout.parquet")
    config.data.filter_overlong_prompts = True
    _, warnings = seen(config)
    num_long = sum(length > 1024 for length in lengths)
    assert num_long > 0
    assert f"in {num_long} of {len(texts)} rows" in warnings[0]
    assert f"at most {max(lengths)}; " in warnings[0]
    assert warnings[1].endswith(f"{name}_{len(texts) - num_long}_of_{len(texts)}")


def test_an_error_of_a_template_has_no_lines(folder):
    counter = prompt_counter(configured(folder, template="{{ raise_exception('a\\nb') }}"))
    with pytest.raises(TemplateError, match="a b") as caught:
        counter.count([[{"role": "user", "content": "x"}]], at_most=0)
    assert caught.value.position == 0
