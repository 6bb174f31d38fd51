"""Every job is handed out, none is lost or sent twice, and no worker waits while another hoards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from _uploader.files.model import Job
from _uploader.processes.dispatch import (
    BATCH_BYTES,
    BATCH_FILES,
    LARGE,
    LOOKAHEAD,
    MOST_STRIKES,
    MOST_TO_TRY_AGAIN,
    WINDOW_BYTES,
    WINDOW_FILES,
    Dispatcher,
    ReadAhead,
)

ALL = 10**9
GIB = 2**30


def job(number: int, size: int = 1) -> Job:
    return Job(number, f"file{number}", size, 0)


def jobs(count: int, size: int = 1) -> list[Job]:
    return [job(number, size) for number in range(count)]


def dispatcher(entries: Iterable[Job | None], workers: str = "a", least: int = 2) -> Dispatcher:
    """One that has looked ahead and has these workers, one letter each."""
    made = Dispatcher(entries)
    made.look_ahead(ALL)
    for name in workers:
        made.add_worker(name, least)
    return made


def sent(given: Dispatcher) -> dict[object, list[int]]:
    """Takes the batches of one round: worker -> job numbers."""
    return {name: [job.number for job in batch] for name, batch in given.next_batches()}


def sent_until_full(given: Dispatcher) -> dict[object, list[int]]:
    """Takes batches until no worker has room (or no job is left)."""
    taken: dict[object, list[int]] = {}
    while batches := sent(given):
        for name, numbers in batches.items():
            taken.setdefault(name, []).extend(numbers)
        given.look_ahead(ALL)
    return taken


class Counting:
    """A scan that knows how far it was pulled."""

    def __init__(self, entries: Iterable[Job | None]) -> None:
        self.pulled = 0
        self._entries = iter(entries)

    def __iter__(self) -> Iterator[Job | None]:
        return self

    def __next__(self) -> Job | None:
        entry = next(self._entries)
        self.pulled += 1
        return entry


class TestReadAhead:
    def test_what_waits_can_be_looked_at(self) -> None:
        ahead = ReadAhead(jobs(3))
        ahead.fetch(2)
        assert list(ahead.peek()) == jobs(2)
        assert list(ahead) == jobs(3)

    def test_nothing_is_fetched_before_it_is_wanted(self) -> None:
        scan = Counting(jobs(10))
        ahead = ReadAhead(scan)
        assert (scan.pulled, ahead.fetched) == (0, 0)

    def test_no_more_is_fetched_than_told(self) -> None:
        scan = Counting(jobs(10))
        ahead = ReadAhead(scan)
        ahead.fetch(3)
        assert (scan.pulled, ahead.fetched) == (3, 3)

    def test_the_order_is_kept_whether_fetched_or_not(self) -> None:
        ahead = ReadAhead(jobs(5))
        ahead.fetch(2)
        assert list(ahead) == jobs(5)

    def test_what_is_fetched_while_others_are_taken_comes_after_them(self) -> None:
        ahead = ReadAhead(jobs(4))
        ahead.fetch(2)
        first = next(iter(ahead))
        ahead.fetch(ALL)
        assert [first, *ahead] == jobs(4)

    def test_it_is_exhausted_when_a_fetch_finds_nothing_more(self) -> None:
        ahead = ReadAhead(jobs(2))
        ahead.fetch(2)
        assert not ahead.exhausted
        ahead.fetch(1)
        assert ahead.exhausted
        assert ahead.fetched == 2

    def test_a_fetch_of_what_has_ended_fetches_nothing(self) -> None:
        ahead = ReadAhead(jobs(2))
        ahead.fetch(ALL)
        ahead.fetch(ALL)
        assert list(ahead) == jobs(2)

    def test_it_wants_no_more_when_full_or_exhausted(self) -> None:
        full, ended = ReadAhead(jobs(2 * LOOKAHEAD)), ReadAhead(jobs(2))
        wanted = full.wants_more, ended.wants_more
        full.fetch(LOOKAHEAD)
        ended.fetch(3)
        assert wanted == (True, True)
        assert (full.wants_more, ended.wants_more) == (False, False)
        next(iter(full))
        assert full.wants_more


def test_what_has_not_ended_is_at_hand_wherever_it_is() -> None:
    given = dispatcher([job(0, LARGE), *map(job, range(1, 6))], workers="")
    assert sorted(each.number for each in given.at_hand()) == [0, 1, 2, 3, 4, 5]
    given.add_worker("a", 2)
    sent(given)
    assert given.done("a", 3)
    assert sorted(each.number for each in given.at_hand()) == [0, 1, 2, 4, 5]


class TestLookahead:
    def test_the_scan_is_not_touched_before_it_is_asked_for(self) -> None:
        scan = Counting(jobs(10))
        Dispatcher(scan).add_worker("a", 1)
        assert scan.pulled == 0

    def test_a_look_ahead_pulls_no_more_entries_than_told(self) -> None:
        scan = Counting(jobs(100))
        Dispatcher(scan).look_ahead(7)
        assert scan.pulled == 7

    def test_entries_that_are_no_upload_count_as_work_done(self) -> None:
        """A scan of nothing but directories does not hold up what else there is to do."""
        scan = Counting([None] * 100)
        Dispatcher(scan).look_ahead(7)
        assert scan.pulled == 7

    def test_no_more_jobs_are_known_than_the_lookahead(self) -> None:
        scan = Counting(jobs(2 * LOOKAHEAD))
        Dispatcher(scan).look_ahead(ALL)
        assert scan.pulled == LOOKAHEAD

    def test_a_full_lookahead_wants_no_jobs(self) -> None:
        given = dispatcher(jobs(2 * LOOKAHEAD))
        assert not given.wants_jobs()
        sent(given)
        assert given.wants_jobs()

    def test_an_ended_scan_wants_no_jobs(self) -> None:
        given = dispatcher(jobs(1))
        assert given.exhausted
        assert not given.wants_jobs()

    def test_handing_out_does_not_pull_the_scan(self) -> None:
        """Only ``look_ahead`` does, so that a slow directory holds up no batch."""
        scan = Counting(jobs(2 * LOOKAHEAD))
        given = dispatcher(scan)
        sent(given)
        assert scan.pulled == LOOKAHEAD


class TestWindow:
    def test_a_batch_has_a_limited_number_of_files(self) -> None:
        assert sent(dispatcher(jobs(1000))) == {"a": list(range(BATCH_FILES))}

    def test_a_worker_holds_a_limited_number_of_files(self) -> None:
        taken = sent_until_full(dispatcher(jobs(2 * LOOKAHEAD)))
        assert len(taken["a"]) == WINDOW_FILES

    def test_a_worker_gets_more_when_a_batch_of_files_is_done(self) -> None:
        given = dispatcher(jobs(2 * LOOKAHEAD))
        held = sent_until_full(given)["a"]
        for number in held[: BATCH_FILES - 1]:
            given.done("a", number)
        assert not sent(given)
        given.done("a", held[BATCH_FILES - 1])
        assert len(sent(given)["a"]) == BATCH_FILES

    def test_a_batch_has_a_limited_number_of_bytes(self) -> None:
        size = LARGE - 1
        batch = sent(dispatcher(jobs(100, size)))["a"]
        assert len(batch) * size <= BATCH_BYTES < (len(batch) + 1) * size

    def test_a_worker_holds_a_limited_number_of_bytes(self) -> None:
        size = LARGE - 1
        held = sent_until_full(dispatcher(jobs(100, size)))["a"]
        assert (len(held) - 1) * size < WINDOW_BYTES

    def test_bytes_that_are_done_make_room(self) -> None:
        given = dispatcher(jobs(4, WINDOW_BYTES // 2), least=1)
        assert sent_until_full(given) == {"a": [0, 1]}
        given.done("a", 0)
        assert sent_until_full(given) == {"a": [2]}

    def test_a_file_larger_than_any_window_is_handed_out(self) -> None:
        assert sent(dispatcher([job(0, 1000 * WINDOW_BYTES)])) == {"a": [0]}

    def test_one_huge_file_does_not_hold_up_others_on_the_same_worker(self) -> None:
        given = dispatcher([job(0, 1000 * GIB), *[job(n) for n in range(1, 4)]], least=2)
        assert sent(given) == {"a": [0]}
        assert sent(given)["a"][0] == 1

    def test_one_huge_file_does_not_hold_up_others_on_other_workers(self) -> None:
        given = dispatcher([job(0, 1000 * GIB), *[job(n) for n in range(1, 9)]], "ab", 1)
        taken = sent_until_full(given)
        assert taken == {"a": [0], "b": [*range(1, 9)]}

    def test_a_worker_below_its_least_gets_files_whatever_their_size(self) -> None:
        """A cloud that knows no parts needs a file for each of its greenlets."""
        given = dispatcher(jobs(10, GIB), least=5)
        assert sent_until_full(given) == {"a": [0, 1, 2, 3, 4]}

    def test_the_worker_with_the_fewest_bytes_goes_first(self) -> None:
        given = Dispatcher(iter([job(0, 200), job(1, 100), job(2)]))
        given.add_worker("a", 2)
        given.add_worker("b", 2)
        given.look_ahead(2)
        assert sent(given) == {"a": [0], "b": [1]}
        given.look_ahead(1)
        assert sent(given) == {"b": [2]}

    def test_a_worker_that_joins_late_gets_its_share(self) -> None:
        given = dispatcher(jobs(2 * LOOKAHEAD), "a")
        sent_until_full(given)
        given.add_worker("b", 2)
        assert list(sent(given)) == ["b"]

    def test_without_workers_nothing_is_handed_out(self) -> None:
        assert not sent(dispatcher(jobs(3), workers=""))


class TestOrder:
    def test_large_files_go_before_small_ones(self) -> None:
        given = dispatcher([job(0), job(1, LARGE), job(2), job(3, LARGE)])
        assert sent_until_full(given) == {"a": [1, 3, 0, 2]}

    def test_files_of_one_kind_keep_the_order_of_the_scan(self) -> None:
        assert sent(dispatcher(jobs(5))) == {"a": [0, 1, 2, 3, 4]}

    def test_a_short_list_is_shared_fairly(self) -> None:
        taken = sent(dispatcher(jobs(8), "abcd"))
        assert [len(numbers) for numbers in taken.values()] == [2, 2, 1, 1]

    def test_one_file_for_each_worker_is_spread_over_all(self) -> None:
        assert sent(dispatcher(jobs(4), "abcd")) == {"a": [0], "b": [1], "c": [2], "d": [3]}

    def test_the_end_of_a_long_list_is_shared_too(self) -> None:
        """Batches shrink towards the end, so that workers end together."""
        given = dispatcher(jobs(300), "ab")
        sizes = [len(numbers) for _ in range(9) for numbers in sent(given).values()]
        assert sizes[-1] == 1
        assert sum(sizes) == 300


class TestDone:
    def test_a_job_that_is_done_comes_back_once(self) -> None:
        given = dispatcher(jobs(1))
        sent(given)
        assert given.done("a", 0) == job(0)
        assert given.done("a", 0) is None

    def test_a_job_that_another_worker_holds_is_not_done(self) -> None:
        given = dispatcher(jobs(2), "ab")
        assert sent(given) == {"a": [0], "b": [1]}
        assert given.done("a", 1) is None
        assert given.held_by("b") == [job(1)]

    def test_a_job_never_handed_out_is_not_done(self) -> None:
        given = dispatcher(jobs(1))
        assert given.done("a", 0) is None
        assert sent(given) == {"a": [0]}

    def test_held_jobs_are_those_sent_and_not_done(self) -> None:
        given = dispatcher(jobs(3))
        sent(given)
        given.done("a", 1)
        assert given.held_by("a") == [job(0), job(2)]

    def test_an_unknown_worker_holds_nothing(self) -> None:
        assert dispatcher(jobs(1)).held_by("nobody") == []


class TestLost:
    def test_the_files_of_a_lost_worker_are_sent_again_one_at_a_time(self) -> None:
        given = dispatcher(jobs(2), "a")
        sent(given)
        assert given.lost("a") == []
        given.add_worker("b", 2)
        assert sent_until_full(given) == {"b": [0]}
        given.done("b", 0)
        assert sent_until_full(given) == {"b": [1]}

    def test_a_suspect_waits_for_a_worker_of_its_own(self) -> None:
        given = dispatcher(jobs(2), "ab")
        sent(given)
        given.lost("a")
        assert not sent(given), "b still holds a file that would be suspected too"
        given.done("b", 1)
        assert sent(given) == {"b": [0]}

    def test_a_worker_with_a_suspect_gets_nothing_else(self) -> None:
        given = Dispatcher(iter(jobs(3)))
        given.look_ahead(1)
        given.add_worker("a", 2)
        sent(given)
        given.lost("a")
        given.add_worker("b", 2)
        assert sent(given) == {"b": [0]}
        given.look_ahead(ALL)
        assert not sent(given)
        given.done("b", 0)
        assert sent(given) == {"b": [1, 2]}

    def test_unsuspected_files_go_before_suspects(self) -> None:
        """What kills workers should not do so while others could be uploaded."""
        given = Dispatcher(iter(jobs(3)))
        given.add_worker("a", 2)
        given.look_ahead(1)
        sent(given)
        given.lost("a")
        given.look_ahead(ALL)
        given.add_worker("b", 2)
        assert sent_until_full(given) == {"b": [1, 2]}

    def test_a_file_is_given_up_when_workers_died_of_it_too_often(self) -> None:
        given = dispatcher(jobs(1), "")
        for death in range(1, MOST_STRIKES + 1):
            given.add_worker(death, 2)
            assert sent(given) == {death: [0]}
            assert given.lost(death) == ([job(0)] if death == MOST_STRIKES else [])
        assert given.finished

    def test_a_file_that_was_merely_there_is_not_given_up(self) -> None:
        given = dispatcher(jobs(2), "a")
        sent(given)
        given.lost("a")
        given.add_worker("b", 2)
        sent(given)
        assert given.lost("b") == [job(0)]
        given.add_worker("c", 2)
        assert sent(given) == {"c": [1]}
        given.done("c", 1)
        assert given.finished

    def test_files_done_before_the_death_are_not_sent_again(self) -> None:
        given = dispatcher(jobs(2), "a")
        sent(given)
        given.done("a", 0)
        given.lost("a")
        given.add_worker("b", 2)
        assert sent_until_full(given) == {"b": [1]}

    def test_a_worker_lost_before_it_was_ready_held_nothing(self) -> None:
        assert dispatcher(jobs(1), "").lost("a") == []

    def test_lost_twice_is_lost_once(self) -> None:
        given = dispatcher(jobs(1))
        sent(given)
        given.lost("a")
        assert given.lost("a") == []


def failed(given: Dispatcher, name: object, number: int) -> bool:
    """A file has failed for a passing reason; returns whether it will go once more."""
    ended = given.done(name, number)
    assert ended is not None
    return given.try_again(ended)


class TestTryAgain:
    def test_a_file_goes_once_more_when_all_others_have_ended(self) -> None:
        given = dispatcher(jobs(2))
        sent(given)
        assert failed(given, "a", 0)
        assert not sent(given), "1 is still under way"
        given.done("a", 1)
        assert sent(given) == {"a": [0]}

    def test_not_before_the_scan_has_ended(self) -> None:
        given = Dispatcher(iter(jobs(2)))
        given.add_worker("a", 2)
        given.look_ahead(1)
        sent(given)
        failed(given, "a", 0)
        assert not sent(given)
        given.look_ahead(1)
        assert sent(given) == {"a": [1]}

    def test_not_before_the_suspects_have_ended(self) -> None:
        given = dispatcher(jobs(2), "ab")
        sent(given)
        given.lost("a")
        failed(given, "b", 1)
        assert sent(given) == {"b": [0]}
        given.done("b", 0)
        assert sent(given) == {"b": [1]}

    def test_those_that_go_again_are_spread_over_the_workers(self) -> None:
        given = dispatcher(jobs(2), "ab")
        assert sent(given) == {"a": [0], "b": [1]}
        failed(given, "a", 0)
        failed(given, "b", 1)
        assert sorted(sum(sent(given).values(), [])) == [0, 1]
        assert given.is_busy("a")
        assert given.is_busy("b")

    def test_a_second_failure_is_the_last(self) -> None:
        given = dispatcher(jobs(1))
        sent(given)
        assert failed(given, "a", 0)
        sent(given)
        assert not failed(given, "a", 0)
        assert given.finished

    def test_the_run_is_not_finished_before_it_has_gone_again(self) -> None:
        given = dispatcher(jobs(1))
        sent(given)
        failed(given, "a", 0)
        assert not given.finished
        sent(given)
        assert not given.finished
        given.done("a", 0)
        assert given.finished

    def test_it_goes_on_with_the_multipart_upload_that_it_began(self) -> None:
        given = dispatcher(jobs(1))
        sent(given)
        given.begun("a", 0, "upload", 7)
        failed(given, "a", 0)
        ((_, batch),) = given.next_batches()
        assert batch == [job(0)._replace(upload_id="upload", ctime_ns=7)]

    def test_no_more_files_are_remembered_than_memory_should_hold(self) -> None:
        given = dispatcher([])
        kept = sum(given.try_again(job(number)) for number in range(MOST_TO_TRY_AGAIN + 5))
        assert kept == MOST_TO_TRY_AGAIN

    def test_stop_returns_those_that_wait(self) -> None:
        given = dispatcher(jobs(2))
        sent(given)
        failed(given, "a", 0)
        assert given.stop() == [job(0)]

    def test_after_stop_none_goes_again(self) -> None:
        given = dispatcher(jobs(1))
        sent(given)
        given.stop()
        assert not failed(given, "a", 0)
        assert given.finished


class TestEnd:
    def test_finished_when_the_scan_has_ended_and_all_is_done(self) -> None:
        given = Dispatcher(iter(jobs(1)))
        given.add_worker("a", 2)
        stages = [given.finished]
        given.look_ahead(ALL)
        stages.append(given.finished)
        sent(given)
        stages.append(given.finished)
        given.done("a", 0)
        stages.append(given.finished)
        assert stages == [False, False, False, True]

    def test_an_empty_scan_is_finished_once_it_was_looked_at(self) -> None:
        given = Dispatcher([])
        assert not given.finished
        given.look_ahead(1)
        assert given.finished

    def test_a_suspect_keeps_the_run_from_being_finished(self) -> None:
        given = dispatcher(jobs(1))
        sent(given)
        given.lost("a")
        assert not given.finished

    def test_stop_returns_what_no_worker_has(self) -> None:
        given = dispatcher(jobs(BATCH_FILES + 3))
        held = sent(given)["a"]
        waiting = {job.number for job in given.stop()}
        assert waiting.isdisjoint(held)
        assert len(waiting) + len(held) == BATCH_FILES + 3

    def test_stop_returns_suspects_too(self) -> None:
        given = dispatcher(jobs(1))
        sent(given)
        given.lost("a")
        assert given.stop() == [job(0)]

    def test_nothing_is_handed_out_after_stop(self) -> None:
        given = dispatcher(jobs(2 * LOOKAHEAD))
        given.stop()
        given.look_ahead(ALL)
        assert not sent(given)

    def test_a_stopped_run_is_finished_when_what_is_held_has_ended(self) -> None:
        given = dispatcher(jobs(2 * LOOKAHEAD))
        held = sent(given)["a"]
        given.stop()
        assert not given.finished
        for number in held:
            given.done("a", number)
        assert given.finished

    def test_stop_twice_returns_nothing_more(self) -> None:
        given = dispatcher(jobs(3))
        given.stop()
        assert given.stop() == []


SIZES = st.sampled_from([0, 1, LARGE - 1, LARGE, BATCH_BYTES, WINDOW_BYTES, GIB])


class Life(RuleBasedStateMachine):
    """Whatever happens in whatever order, each job is in one place, and all of them end."""

    def __init__(self) -> None:
        super().__init__()
        self.workers: dict[int, set[int]] = {}
        """Worker -> what it was sent and has not ended."""
        self.started = 0
        self.scanned: set[int] = set()
        self.ended: set[int] = set()
        self.known: set[int] = set()
        self.tried_again: set[int] = set()
        self.source: list[Job | None] = []
        self.dispatcher = Dispatcher(self.entries())

    def entries(self) -> Iterator[Job | None]:
        while self.source:
            entry = self.source.pop(0)
            if entry:
                self.scanned.add(entry.number)
            yield entry

    def end(self, number: int) -> None:
        assert number not in self.ended, "ended twice"
        self.ended.add(number)

    @precondition(lambda self: not self.dispatcher.exhausted)
    @rule(sizes=st.lists(st.none() | SIZES, max_size=40))
    def files_appear(self, sizes: list[int | None]) -> None:
        for size in sizes:
            number = len(self.known)
            if size is not None:
                self.known.add(number)
            self.source.append(None if size is None else job(number, size))

    @rule(most=st.integers(1, 50))
    def look_ahead(self, most: int) -> None:
        self.dispatcher.look_ahead(most)

    @rule(least=st.integers(1, 4))
    def worker_is_ready(self, least: int) -> None:
        self.dispatcher.add_worker(self.started, least)
        self.workers[self.started] = set()
        self.started += 1

    @rule()
    def hand_out(self) -> None:
        everywhere = set().union(*self.workers.values())
        for name, batch in self.dispatcher.next_batches():
            numbers = {entry.number for entry in batch}
            assert len(numbers) == len(batch) <= BATCH_FILES
            assert isinstance(name, int)
            assert numbers.isdisjoint(everywhere), "sent twice"
            assert numbers.isdisjoint(self.ended), "sent after its end"
            assert len(batch) == 1 or sum(entry.size for entry in batch) <= BATCH_BYTES
            everywhere |= numbers
            self.workers[name] |= numbers
            assert len(self.workers[name]) <= WINDOW_FILES

    @precondition(lambda self: any(self.workers.values()))
    @rule(data=st.data())
    def some_are_done(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([n for n, held in self.workers.items() if held]))
        for number in data.draw(st.sets(st.sampled_from(sorted(self.workers[name])))):
            answer = self.dispatcher.done(name, number)
            assert answer is not None
            assert answer.number == number
            self.workers[name].discard(number)
            self.end(number)

    @precondition(lambda self: any(self.workers.values()))
    @rule(data=st.data())
    def some_fail_for_a_passing_reason(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([n for n, held in self.workers.items() if held]))
        for number in data.draw(st.sets(st.sampled_from(sorted(self.workers[name])))):
            answer = self.dispatcher.done(name, number)
            assert answer is not None
            self.workers[name].discard(number)
            if self.dispatcher.try_again(answer):
                assert number not in self.tried_again, "a third time"
                self.tried_again.add(number)
            else:
                self.end(number)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), number=st.integers(0, 100))
    def a_stranger_is_done(self, data: st.DataObject, number: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.workers)))
        if number not in self.workers[name]:
            assert self.dispatcher.done(name, number) is None

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.workers)))
        held = self.workers.pop(name)
        for given_up in self.dispatcher.lost(name):
            assert given_up.number in held
            self.end(given_up.number)

    @rule()
    @precondition(lambda self: self.started > 3)
    def the_run_is_stopped(self) -> None:
        for waiting in self.dispatcher.stop():
            self.end(waiting.number)

    @invariant()
    def the_books_agree(self) -> None:
        for name, held in self.workers.items():
            assert {entry.number for entry in self.dispatcher.held_by(name)} == held

    def teardown(self) -> None:
        """From any state, a worker that works brings the run to its end."""
        self.worker_is_ready(2)
        for _ in range(10_000):
            if self.dispatcher.finished:
                break
            self.dispatcher.look_ahead(1000)
            self.hand_out()
            for name, held in self.workers.items():
                for number in sorted(held):
                    assert self.dispatcher.done(name, number)
                    self.end(number)
                held.clear()
        assert self.dispatcher.finished
        assert self.ended == self.scanned


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_a_long_list_ends(workers: int) -> None:
    names = "abcdefg"[:workers]
    given = dispatcher((job(number, number % 5 * LARGE // 3) for number in range(10_000)), names)
    ended = 0
    while not given.finished:
        for name, batch in given.next_batches():
            ended += sum(given.done(name, entry.number) == entry for entry in batch)
        given.look_ahead(256)
    assert ended == 10_000
