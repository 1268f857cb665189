"""The data of `esblend train` is checked before a model is loaded."""

from pathlib import Path

import pytest

from esblend.errors import UnusableFile
from query.lab.training import Example, read_data_config


def config(folder: Path, text: str, pairs: str = '["q", "a"]\n') -> Path:
    (folder / "pairs.jsonl").write_text(pairs)
    file = folder / "data_config.json"
    file.write_text(text)
    return file


def test_pairs_with_and_without_a_negative_are_read(tmp_path: Path) -> None:
    pairs = '["q", "a"]\n\n{"query": "r", "answer": "b", "negative": "c"}\n'
    [(name, weight, examples)] = read_data_config(config(tmp_path, '[{"name": "pairs.jsonl", "weight": 2}]', pairs))
    assert (name, weight) == ("pairs.jsonl", 2.0)
    assert examples == [Example("q", "a"), Example("r", "b", "c")]


@pytest.mark.parametrize("weight", ["0", "-1", "NaN", "Infinity"])
def test_a_weight_that_is_not_above_zero_is_named(weight: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match=r"\[pairs.jsonl\] the weight"):
        read_data_config(config(tmp_path, f'[{{"name": "pairs.jsonl", "weight": {weight}}}]'))


@pytest.mark.parametrize("text", ["{}", "[1]", "nonsense", '[{"weight": 1}]', '[{"name": "no.jsonl"}]'])
def test_another_form_is_named(text: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="is not a list of objects"):
        read_data_config(config(tmp_path, text))


@pytest.mark.parametrize("line", ["5", "null", '["q"]', '["q", 1]', '{"query": "q"}', '["q", "a", 5]'])
def test_a_wrong_pair_is_named_by_its_line(line: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match=r"pairs.jsonl:2\]"):
        read_data_config(config(tmp_path, '[{"name": "pairs.jsonl"}]', f'["q", "a"]\n{line}\n'))
