"""When a run can get no further."""

from __future__ import annotations

import pytest

from _uploader.stopping import MOST_DENIED, MOST_PLACES, RefusalJudge, StallDetector

PATIENCE = 60.0


class TestStallDetector:
    @pytest.fixture
    def detector(self) -> StallDetector:
        """One that has seen life 1 at 0."""
        made = StallDetector(PATIENCE)
        made.is_stalled(0.0, life=1, trouble=0, outage=False)
        return made

    def test_slowness_alone_is_borne_for_ever(self, detector: StallDetector) -> None:
        times = (1.0, 1e3, 1e6)
        assert not any(detector.is_stalled(now, life=1, trouble=0, outage=False) for now in times)

    def test_failures_without_any_life_are_borne_for_the_patience(
        self, detector: StallDetector
    ) -> None:
        assert not detector.is_stalled(10.0, life=1, trouble=1, outage=False)
        assert not detector.is_stalled(10.0 + PATIENCE, life=1, trouble=9, outage=False)
        assert detector.is_stalled(10.1 + PATIENCE, life=1, trouble=9, outage=False)

    def test_the_patience_begins_with_the_first_failure_not_with_the_last_life(
        self, detector: StallDetector
    ) -> None:
        """A long part may be under way for minutes before anything fails."""
        assert not detector.is_stalled(10 * PATIENCE, life=1, trouble=1, outage=False)

    def test_one_failure_is_enough(self, detector: StallDetector) -> None:
        """Attempts may end while the service is waited for."""
        detector.is_stalled(10.0, life=1, trouble=1, outage=False)
        assert detector.is_stalled(10.1 + PATIENCE, life=1, trouble=1, outage=False)

    def test_an_outage_counts_like_a_failure(self, detector: StallDetector) -> None:
        detector.is_stalled(10.0, life=1, trouble=0, outage=True)
        assert detector.is_stalled(10.1 + PATIENCE, life=1, trouble=0, outage=True)

    def test_an_outage_that_a_probe_has_ended_starts_no_clock(
        self, detector: StallDetector
    ) -> None:
        """Nothing moves either when it is the disk that hangs."""
        detector.is_stalled(10.0, life=1, trouble=0, outage=True)
        detector.is_stalled(11.0, life=1, trouble=0, outage=False)
        detector.is_stalled(16.0, life=1, trouble=0, outage=True)
        assert not detector.is_stalled(10.1 + PATIENCE, life=1, trouble=0, outage=True)

    def test_failures_count_whatever_a_probe_says(self, detector: StallDetector) -> None:
        """A service may refuse to store and answer all else."""
        detector.is_stalled(10.0, life=1, trouble=1, outage=True)
        detector.is_stalled(11.0, life=1, trouble=1, outage=False)
        assert detector.is_stalled(10.1 + PATIENCE, life=1, trouble=1, outage=False)

    @pytest.mark.parametrize("life", [2, 0, ("bytes", 1)])
    def test_any_sign_of_life_stops_the_clock(self, detector: StallDetector, life: object) -> None:
        """Bytes, files or the scan: whatever differs."""
        detector.is_stalled(10.0, life=1, trouble=1, outage=True)
        assert not detector.is_stalled(10.1 + PATIENCE, life=life, trouble=2, outage=True)

    def test_after_a_sign_of_life_old_failures_start_no_clock(
        self, detector: StallDetector
    ) -> None:
        detector.is_stalled(10.0, life=1, trouble=5, outage=False)
        detector.is_stalled(20.0, life=2, trouble=7, outage=False)
        detector.is_stalled(30.0, life=2, trouble=7, outage=False)
        assert not detector.is_stalled(40 + PATIENCE, life=2, trouble=7, outage=False)

    def test_after_a_sign_of_life_the_patience_begins_anew(self, detector: StallDetector) -> None:
        detector.is_stalled(10.0, life=1, trouble=1, outage=False)
        detector.is_stalled(50.0, life=2, trouble=2, outage=False)
        detector.is_stalled(60.0, life=2, trouble=3, outage=False)
        assert not detector.is_stalled(60.0 + PATIENCE, life=2, trouble=4, outage=False)
        assert detector.is_stalled(60.1 + PATIENCE, life=2, trouble=4, outage=False)


def deny(judge: RefusalJudge, *paths: str, reason: str = "AccessDenied") -> str:
    for path in paths:
        judge.denied(path, reason)
    return judge.verdict


class TestRefusalJudge:
    @pytest.fixture
    def judge(self) -> RefusalJudge:
        return RefusalJudge()

    def test_without_refusals_the_run_goes_on(self, judge: RefusalJudge) -> None:
        assert (judge.verdict, judge.final_verdict) == ("", "")

    def test_refusals_below_one_directory_do_not_stop_the_run(self, judge: RefusalJudge) -> None:
        paths = [f"secret/{number}/file" for number in range(MOST_DENIED - 1)]
        assert deny(judge, *paths) == ""

    def test_refusals_all_over_the_tree_stop_it(self, judge: RefusalJudge) -> None:
        paths = [f"directory{number}/file" for number in range(MOST_PLACES)]
        assert deny(judge, *paths[:-1]) == ""
        assert deny(judge, paths[-1]) == "AccessDenied"

    def test_files_at_the_top_are_one_place(self, judge: RefusalJudge) -> None:
        assert deny(judge, *(f"file{number}" for number in range(MOST_DENIED - 1))) == ""

    def test_very_many_refusals_stop_it_wherever_they_are(self, judge: RefusalJudge) -> None:
        assert deny(judge, *(f"secret/{number}" for number in range(MOST_DENIED))) != ""

    def test_the_first_reason_is_told(self, judge: RefusalJudge) -> None:
        deny(judge, "a/1", reason="InvalidAccessKeyId")
        assert (
            deny(judge, *(f"{number}/1" for number in range(MOST_PLACES))) == "InvalidAccessKeyId"
        )

    @pytest.mark.parametrize("before", [True, False])
    def test_where_something_was_stored_refusals_never_stop_it(self, before: bool) -> None:
        judge = RefusalJudge(stored_before=before)
        judge.stored = True
        paths = [f"{number % 10}/{number}" for number in range(2 * MOST_DENIED)]
        assert deny(judge, *paths) == ""
        assert judge.final_verdict == ""

    def test_an_earlier_run_that_stored_something_counts(self) -> None:
        judge = RefusalJudge(stored_before=True)
        assert deny(judge, "a/1", "b/1", "c/1") == ""

    def test_at_the_end_a_single_refusal_of_all_there_was_is_the_runs(
        self, judge: RefusalJudge
    ) -> None:
        deny(judge, "a")
        assert judge.final_verdict == "AccessDenied"

    def test_at_the_end_files_that_failed_otherwise_speak_against_it(
        self, judge: RefusalJudge
    ) -> None:
        deny(judge, "a")
        judge.failed()
        assert judge.final_verdict == ""
