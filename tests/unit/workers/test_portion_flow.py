"""How portions of a task overlap: two in the encoder, several in one write."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from esblend.broker import EmbedResult
from mappings.source import SourceText
from workers.documents import Document
from workers.encoding import Embedded
from workers.portion_flow import Encoded, PortionFlow
from workers.portion_writes import Portion

LONG = 600.0


def portions(count: int) -> Iterator[Portion]:
    for number in range(count):
        document = Document(str(number), None, number, 1, 1, SourceText("text", ""), "f", None, None, 0)
        yield Portion([document.key], [document], 100.0 - number, False, {(f"unlisted {number}", None)}, until=number)


@dataclass
class Recorder:
    """What a flow did, by the numbers of the portions."""

    writes: list[list[str]] = field(default_factory=list)
    encoded: list[str] = field(default_factory=list)
    in_encoder: set[str] = field(default_factory=set)
    together: list[set[str]] = field(default_factory=list)
    written: list[Portion] = field(default_factory=list)

    def flow(
        self,
        *,
        hold_seconds: float = LONG,
        suspects: tuple[str, ...] = (),
        ends_early: Callable[[], bool] = lambda: False,
        during: Callable[[str], object] = lambda _: None,
    ) -> PortionFlow:
        def encode(portion: Portion) -> Encoded:
            [(name, _)] = portion.requested
            self.in_encoder.add(name)
            self.together.append(set(self.in_encoder))
            during(name)
            self.encoded.append(name)
            self.in_encoder.discard(name)
            return Encoded(portion, [Embedded(portion.documents[0], [], np.empty((0, 4), np.float32))], [], 1.0, 2.0)

        def write(encoded: Encoded) -> EmbedResult:
            self.writes.append([result.document.id for result in encoded.embedded])
            self.written.append(encoded.portion)
            return EmbedResult(written=len(encoded.embedded), documents=len(encoded.portion.requested))

        return PortionFlow(
            encode=encode,
            write=write,
            is_suspect=lambda portion: portion.requested[0][0] in suspects,
            learn=lambda *_: None,
            ends_early=ends_early,
            hold_seconds=hold_seconds,
        )


def test_the_next_portion_is_in_the_encoder_before_the_first_has_ended() -> None:
    both = threading.Barrier(2, timeout=60)
    done = Recorder().flow(during=lambda name: both.wait() if name in "01" else None).run(portions(3))
    assert (done.written, done.until) == (3, 2)


def test_portions_that_are_held_are_written_as_one() -> None:
    recorder = Recorder()
    result = recorder.flow().run(portions(4))
    assert recorder.writes == [["0", "1", "2", "3"]]
    assert (result.written, result.documents, result.until) == (4, 4, 3)
    [written] = recorder.written
    assert [id_ for id_, _ in written.requested] == ["0", "1", "2", "3"]
    assert written.read_at == 97.0
    assert len(written.unlisted) == 4


def test_live_changes_are_not_held() -> None:
    recorder = Recorder()
    recorder.flow(hold_seconds=0).run(portions(3))
    assert recorder.writes == [["0"], ["1"], ["2"]]


def test_a_portion_that_may_end_the_process_is_encoded_alone() -> None:
    recorder = Recorder()
    recorder.flow(suspects=("1", "3")).run(portions(5))
    assert sorted(recorder.encoded) == ["0", "1", "2", "3", "4"]
    assert [names for names in recorder.together if "1" in names or "3" in names] == [{"1"}, {"3"}]


def test_a_portion_that_was_only_read_is_left_for_the_next_task() -> None:
    recorder = Recorder()
    result = recorder.flow(ends_early=lambda: True).run(portions(5))
    assert recorder.writes == [["0"]]
    assert result.until == 0


def test_an_error_of_one_portion_ends_the_task() -> None:
    def fail(name: str) -> None:
        if name == "1":
            raise RuntimeError("the encoder failed")

    recorder = Recorder()
    with pytest.raises(RuntimeError, match="the encoder failed"):
        recorder.flow(hold_seconds=0, during=fail).run(portions(5))
    assert recorder.writes == [["0"], ["2"]]


def test_what_was_encoded_before_an_error_is_written() -> None:
    """Otherwise a task that fails in the same place each time would never make progress."""

    def fail(name: str) -> None:
        if name == "2":
            raise RuntimeError("the encoder failed")

    def end_in_an_error() -> Iterator[Portion]:
        yield from portions(2)
        raise RuntimeError("the shard cannot be searched")

    recorder = Recorder()
    with pytest.raises(RuntimeError, match="the encoder failed"):
        recorder.flow(during=fail).run(portions(3))
    assert recorder.writes == [["0", "1"]]
    recorder = Recorder()
    with pytest.raises(RuntimeError, match="cannot be searched"):
        recorder.flow().run(end_in_an_error())
    assert recorder.writes == [["0", "1"]]


def test_portions_are_not_held_while_a_longer_one_is_encoded() -> None:
    recorder, is_written = Recorder(), threading.Event()
    waited: list[bool] = []

    def write(_: Encoded) -> EmbedResult:
        is_written.set()
        return EmbedResult()

    def wait_for_the_first(name: str) -> None:
        if name == "1":
            waited.append(is_written.wait(60))

    flow = recorder.flow(hold_seconds=0.01, during=wait_for_the_first)
    replace(flow, write=write).run(portions(2))
    assert waited == [True]


def test_all_others_are_written_before_a_portion_that_may_end_the_process() -> None:
    recorder = Recorder()
    written: dict[str, list[list[str]]] = {}
    recorder.flow(suspects=("1", "2"), during=lambda name: written.update({name: list(recorder.writes)})).run(
        portions(4)
    )
    assert (written["1"], written["2"]) == ([["0"]], [["0"], ["1"]])


def test_a_task_without_documents_has_a_result() -> None:
    assert Recorder().flow().run(portions(0)) == EmbedResult()
