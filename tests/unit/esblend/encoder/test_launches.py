"""What TorchModel does on a GPU, on the CPU: batches by the device's memory, no waiting between them, attention in one kernel."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esblend.encoder.batches import packed_batches
from esblend.encoder.folder import find_model
from esblend.errors import ModelError
from tests.later import Later, torch
from tests.unit.esblend.encoder.tiny_models import write_model

launches = Later("esblend.encoder.launches")
packed_attention = Later("esblend.encoder.packed_attention")
pooling = Later("esblend.encoder.pooling")
torch_backend = Later("esblend.encoder.torch_backend")
IDS = [[number % 900 + 5 for number in range(length)] for length in (90, 7, 64, 64, 1, 30, 200, 2, 7)]


def torch_model(folder: Path | None = None, **options: Any) -> Any:
    described = find_model("minilm" if folder is None else str(folder))
    return torch_backend.TorchModel(described, **{"precision": "exact", "threads": 1, "token_budget": None} | options)


class SmallMemory:
    """A model of one number for each text, on a device with room for so many word pieces."""

    def __init__(self, lengths: Sequence[int], room: int) -> None:
        self.lengths, self.room = lengths, room
        self.computed: list[int] = []

    def __call__(self, batch: list[int]) -> Any:
        pieces = sum(self.lengths[position] for position in batch)
        if pieces > self.room:
            raise torch.OutOfMemoryError("no room")
        self.computed.append(pieces)
        return torch.tensor([[float(position)] for position in batch])


def test_a_batch_that_finds_no_memory_is_halved_and_later_ones_are_small() -> None:
    lengths = [10] * 100
    launcher, model = launches.Launcher(torch.device("cpu"), 1000), SmallMemory(lengths, room=300)
    vectors = launcher.launch(lengths, packed_batches, model).wait()
    assert vectors[:, 0].tolist() == list(range(100))
    assert launcher.budget == 250
    model.computed.clear()
    launcher.launch(lengths, packed_batches, model)
    assert model.computed == [250] * 4


def test_one_text_without_memory_is_the_devices_fault() -> None:
    launcher = launches.Launcher(torch.device("cpu"), 1000)
    with pytest.raises(ModelError, match="too small for one text of 40 word pieces"):
        launcher.launch([40, 5], packed_batches, SmallMemory([40, 5], room=10))


@pytest.mark.parametrize("is_packed", [True, False])
def test_a_model_that_runs_out_of_memory_gives_the_same_vectors(is_packed: bool) -> None:
    model = torch_model()
    if not is_packed:
        model._model.transformer.set_attn_implementation("sdpa")
        model.is_packed = False
    expected = model.embed(IDS)

    def refuse(_: Any, __: Any, given: dict[str, Any]) -> None:
        if given["input_ids"].numel() > 210:
            raise torch.OutOfMemoryError("no room")

    model._model.transformer.register_forward_pre_hook(refuse, with_kwargs=True)
    np.testing.assert_allclose(model.embed(IDS), expected, atol=1e-6)
    assert model._launcher.budget < torch_backend.TOKEN_BUDGETS["cpu"]


def test_a_second_caller_launches_while_the_first_one_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both calls end only after both are launched."""
    model = torch_model()
    expected = model.embed(IDS)
    both = threading.Barrier(2, timeout=60)

    class Ended:
        def synchronize(self) -> None:
            both.wait()

    monkeypatch.setattr(
        launches.Launcher, "_copied", lambda _, vectors, order: launches.Launched(vectors, order, Ended())
    )
    found: list[Any] = []
    callers = [threading.Thread(target=lambda: found.append(model.embed(IDS))) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert len(found) == 2
    for vectors in found:
        np.testing.assert_allclose(vectors, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["BERT", "DistilBERT", "RoBERTa", "ALBERT", "NomicBERT"])
def test_attention_to_texts_of_any_lengths_in_one_call(name: str, tmp_path: Path) -> None:
    model = torch_model(write_model(tmp_path, name))
    assert attention_of(model) == packed_attention.PACKED
    expected = model.embed(IDS)
    assert repacked(model) is None
    assert attention_of(model) == packed_attention.NESTED
    np.testing.assert_allclose(model.embed(IDS), expected, atol=1e-5)


def test_where_one_call_cannot_attend_the_next_attention_is_taken(tmp_path: Path) -> None:
    """Qwen2's queries share keys."""
    model = torch_model(write_model(tmp_path, "Qwen2"))
    expected = model.embed(IDS)
    assert repacked(model) is None
    assert attention_of(model) == packed_attention.PACKED
    np.testing.assert_array_equal(model.embed(IDS), expected)


def repacked(model: Any) -> Any:
    """Choose the attention as on a GPU."""
    model._model.transformer.set_attn_implementation("sdpa")
    return model._pack([packed_attention.NESTED, packed_attention.PACKED])


def attention_of(model: Any) -> str:
    return str(model._model.transformer.config._attn_implementation)


@pytest.mark.parametrize("mode", ["mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"])
def test_pooling_without_padding(mode: str) -> None:
    lengths = [5, 1, 3, 3]
    hidden = torch.randn((sum(lengths), 4), generator=torch.Generator().manual_seed(3))
    texts = hidden.split(lengths)
    padded = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(length) for length in lengths], batch_first=True)
    packed = pooling.pool_packed(hidden, torch.tensor([0, 5, 6, 9, 12]), [mode])
    torch.testing.assert_close(packed, pooling.pool(padded, mask, [mode]))
