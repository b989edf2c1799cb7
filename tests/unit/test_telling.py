"""Nights of planted defects and of repeats go on where they were stopped; inner runs are played here."""

from types import SimpleNamespace

import pytest

from tests.end_to_end import night, telling, test_repeats
from tests.end_to_end.defects import ALL, FULL_DISK, IN_GUESTS_OF_TWINS, Defect
from tests.end_to_end.planting import PARAMETER, SOUND, SPOILT

ONE, TWO = (Defect(f"C0{number}", f"test_thing_{number}", "words", "script") for number in (1, 2))
IMAGE = SimpleNamespace(digest="image")
WHOLE = test_repeats.Share("kvm")


class Runs:
    """Inner runs: what each was asked for, and what its checks come to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.blind: set[str] = set()
        self.sound = "passed"
        self.stop_after = 99
        self.moody: dict[str, list[str]] = {}

    def __call__(self, *words, host, **_):
        if len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        chosen = words[words.index("-k") + 1]
        self.asked.append(chosen)
        names = {defect.test: telling.name_of(defect) for defect in (ONE, TWO)}
        if "--again" in words:
            times = range(int(words[words.index("--again") + 1]))
            found = [
                {"name": f"{name} (again={time})", "status": self.moody.get(test, ["passed"] * 99)[time]}
                for test, name in names.items()
                if test in chosen
                for time in times
            ]
        else:
            assert "tests.end_to_end.planting" in words
            found = [
                {
                    "name": f"{name} ({PARAMETER}={planted})",
                    "status": "passed" if test in self.blind else status,
                    "parameters": [{"name": PARAMETER, "value": planted}, {"name": "pool", "value": "kvm"}],
                }
                for test, name in names.items()
                if test in chosen
                for planted, status in ((SOUND, self.sound), (SPOILT, "failed"))
            ]
        return SimpleNamespace(results=found, output="said")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(night, "JOURNALS", tmp_path)
    monkeypatch.setattr(telling, "EVERY", True)
    monkeypatch.setattr(test_repeats, "ALL", True)
    return Runs()


def tell(runs, monkeypatch, *batch):
    telling.tell_apart(runs, monkeypatch, IMAGE, batch)


def test_a_defect_that_was_shown_is_not_shown_again(runs, monkeypatch):
    tell(runs, monkeypatch, ONE, TWO)
    with pytest.raises(pytest.skip.Exception, match="shown before"):
        tell(runs, monkeypatch, ONE, TWO)
    assert len(runs.asked) == 1


def test_a_check_that_fails_on_a_sound_guest_tells_nothing(runs, monkeypatch):
    runs.sound = "failed"
    with pytest.raises(AssertionError, match=r"not passed on sound guests: \{'C01 thing 1'"):
        tell(runs, monkeypatch, ONE)
    runs.sound = "passed"
    tell(runs, monkeypatch, ONE)
    assert len(runs.asked) == 2


def test_one_that_was_not_caught_fails_and_is_tried_again_alone(runs, monkeypatch):
    runs.blind = {TWO.test}
    with pytest.raises(AssertionError, match=r"not caught: \{'C02 thing 2'"):
        tell(runs, monkeypatch, ONE, TWO)
    runs.blind = set()
    tell(runs, monkeypatch, ONE, TWO)
    assert runs.asked[1:] == [f"({TWO.test})"]


def test_another_image_shows_everything_anew(runs, monkeypatch):
    tell(runs, monkeypatch, ONE)
    telling.tell_apart(runs, monkeypatch, SimpleNamespace(digest="other"), [ONE])
    assert len(runs.asked) == 2


def repeat(runs, capsys, share=WHOLE):
    test_repeats.test_no_check_cries_wolf(
        runs, capsys=capsys, image=IMAGE, plan={"kvm": [ONE.test, TWO.test]}, share=share
    )


def test_repeats_that_were_stopped_go_on_until_there_are_twenty(runs, capsys):
    runs.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        repeat(runs, capsys)
    runs.stop_after = 99
    repeat(runs, capsys)
    assert len(runs.asked) == 4, "twenty times are four rounds of five"
    repeat(runs, capsys)
    assert len(runs.asked) == 4


def test_one_verdict_that_differs_is_found_and_stays_found(runs, capsys):
    runs.moody = {TWO.test: ["passed", "failed", "passed", "passed", "passed"]}
    for _ in range(2):
        with pytest.raises(AssertionError, match="C02 thing 2"):
            repeat(runs, capsys)
    assert len(runs.asked) == 4


def test_shares_are_all_of_it_and_keep_their_own_books(runs, capsys):
    for number in (1, 2):
        repeat(runs, capsys, test_repeats.Share("kvm", number, 2))
    assert runs.asked == [f"({ONE.test})"] * 4 + [f"({TWO.test})"] * 4


def test_a_check_that_came_to_nothing_was_not_repeated(runs, capsys, monkeypatch):
    """An inner run that broke off says nothing of the checks that it did not reach."""
    broken = SimpleNamespace(output="the machine was switched off")
    monkeypatch.setattr(test_repeats, "select", lambda *_: ({telling.name_of(ONE): ["passed"] * 5}, broken))
    with pytest.raises(AssertionError, match=f"{TWO.test} came to nothing"):
        repeat(runs, capsys)


def test_a_check_that_is_always_skipped_is_shown_by_nothing(runs, capsys):
    runs.moody = {TWO.test: ["skipped"] * 5}
    with pytest.raises(AssertionError, match="skipped each time"):
        repeat(runs, capsys)


def test_one_defect_more_changes_one_draw_at_most(monkeypatch):
    for seed in range(20):
        monkeypatch.setattr(telling, "SEED", str(seed))
        before = telling.draw(range(50), 8, str)
        after = telling.draw(range(51), 8, str)
        assert len(set(before) - set(after)) <= 1
        assert len(before) == len(set(before)) == 8


def test_other_seeds_draw_others(monkeypatch):
    drawn = set()
    for seed in range(20):
        monkeypatch.setattr(telling, "SEED", str(seed))
        drawn.update(telling.draw(range(50), 8, str))
    assert len(drawn) > 40


def test_every_defect_can_be_kept_book_of():
    """What a twin does wrong is a plan, and no key of a dictionary; its defect is."""
    planted = (*ALL, FULL_DISK, *IN_GUESTS_OF_TWINS)
    assert len(dict.fromkeys(planted)) == len(planted)


def test_no_test_has_two_defects_on_one_host():
    """The planter would plant the first, twice."""
    planted = [(defect.test, defect.host) for defect in (*ALL, FULL_DISK, *IN_GUESTS_OF_TWINS)]
    assert len(planted) == len(set(planted))
