"""The kit finds what is planted: each fault turns the check red that is about it, and an honest index stays green."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

PLANTED = Path(__file__).with_name("planted_suites.py")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[set[str], set[str]]]:
    """Names of the tests that ran and of those that failed, by planted fault."""
    folder = tmp_path_factory.mktemp("report")
    report, settings = folder / "report.xml", folder / "pytest.ini"
    # Settings of its own: those of the repository would make this a part of the run around it.
    settings.write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(settings)]
    done = subprocess.run(
        [*command, "--import-mode=importlib", f"--junitxml={report}", str(PLANTED)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
    ran: dict[str, set[str]] = defaultdict(set)
    failed: dict[str, set[str]] = defaultdict(set)
    for case in ElementTree.parse(report).iter("testcase"):
        fault = case.get("classname", "").rpartition(".Test")[2]
        name = case.get("name", "").partition("[")[0]
        ran[fault].add(name)
        if case.find("failure") is not None or case.find("error") is not None:
            failed[fault].add(name)
        assert case.find("skipped") is None
    return {fault: (ran[fault], failed[fault]) for fault in ran}


RED: dict[str, set[str]] = {
    "Honest": set(),
    "ClaimsNothing": set(),
    "HonestInEverything": set(),
    "FindsHalf": {"recall"},
    "BreaksOnParameters": {"search_parameters"},
    "TakesAnyParameter": {"the_record_is_well_formed", "unknown_parameters_are_refused"},
    "EstimatesTooLittle": {"the_estimate_of_memory_is_near"},
    "CountsTooMany": {"stats"},
    "FailsWithItsOwnError": {"damaged_files_are_told"},
    "TrustsItsFiles": {"damaged_files_are_told"},
    "SavesTheRows": {"saved_files_do_not_repeat_the_rows"},
    "LosesSomethingOnSave": {"save_and_load"},
    "ReportsBackwards": {"progress"},
    "ReportsEveryRow": {"progress"},
    "NeverAsksForCancel": {"cancel"},
    "IgnoresCancel": {"cancel"},
    "SharesABuffer": {"concurrent_searches_agree"},
    "DependsOnThreads": {"threads_and_repetition_change_nothing"},
    "HoldsTheGil": {"other_python_threads_go_on_during_a_search"},
    "KeepsTheRowsAfterClose": {"close_lets_go_of_the_rows"},
    "CannotTakeAFile": {"rows_are_not_copied", "rows_may_be_mapped_from_a_file"},
    "CopiesTheRows": {"rows_are_not_copied"},
    "WritesIntoRows": {"inputs_are_left_alone"},
    "WritesIntoQueries": {"inputs_are_left_alone"},
    "EstimatesDistances": {"exact", "only_allowed_rows_come_back"},
    "ForgetsARow": {"exact"},
    "CallsFloat32Exact": {"exact", "only_allowed_rows_come_back"},
    "PrefersLargerSlots": {"equal_rows_come_by_slot"},
    "ReturnsARowThatIsNotThere": {"exact", "slots_are_rows_without_repeats"},
    "RepeatsARow": {
        "exact",
        "only_allowed_rows_come_back",
        "search_parameters",
        "slots_are_rows_without_repeats",
    },
    "PadsWithZeroDistance": {
        "distances_ascend",
        "only_allowed_rows_come_back",
        "search_parameters",
        "what_is_missing_is_padded",
    },
    "ReturnsTheFarthestFirst": {
        "distances_ascend",
        "equal_rows_come_by_slot",
        "exact",
        "only_allowed_rows_come_back",
        "search_parameters",
    },
    "ReturnsFewerColumns": {"only_allowed_rows_come_back", "search_parameters", "shapes_and_types"},
    "ReturnsSignedSlots": {"only_allowed_rows_come_back", "search_parameters", "shapes_and_types"},
    "IgnoresTheBitmap": {"only_allowed_rows_come_back"},
    "ReturnsRowsThatAreNotAllowed": {"only_allowed_rows_come_back"},
}
"""The tests that must fail, and no others may, for each class of the file of planted faults."""


@pytest.mark.parametrize(("fault", "red"), RED.items(), ids=RED)
def test_a_planted_fault_turns_its_check_red(
    outcome: dict[str, tuple[set[str], set[str]]], fault: str, red: set[str]
) -> None:
    assert {name.removeprefix("test_") for name in outcome[fault][1]} == red


def test_every_planted_fault_is_expected_and_every_test_has_its_fault(
    outcome: dict[str, tuple[set[str], set[str]]],
) -> None:
    assert set(outcome) == set(RED)
    ran = {name.removeprefix("test_") for names, _ in outcome.values() for name in names}
    assert ran == set().union(*RED.values())


def test_a_claim_that_is_not_made_is_not_tested(outcome: dict[str, tuple[set[str], set[str]]]) -> None:
    everything, nothing = outcome["HonestInEverything"][0], outcome["ClaimsNothing"][0]
    assert everything - nothing == {
        "test_exact",
        "test_only_allowed_rows_come_back",
        "test_threads_and_repetition_change_nothing",
        "test_other_python_threads_go_on_during_a_search",
    }
