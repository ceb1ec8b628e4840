"""The estimate from a probe, with a clock of its own."""

import pytest

from trainer.examples import Candidate, Example
from trainer.scoring.estimate import Estimate, duration, estimate


class TimedReward:
    """Takes a hundredth of a second for each character that is read, and five seconds the first time."""

    def __init__(self):
        self.now = 0.0
        self.sizes = []

    def clock(self):
        return self.now

    def rewards(self, examples):
        pairs = [(example, candidate) for example in examples for candidate in example.candidates]
        self.now += 0.0 if self.sizes else 5.0
        self.sizes.append(len(pairs))
        self.now += 0.01 * sum(len(c.text) + len(e.query) + len(e.answers[0]) for e, c in pairs)
        return [[0.0] * len(example.candidates) for example in examples]


def some_examples(count):
    return [
        Example(
            id=str(number),
            query="four",
            answers=["x"],
            candidates=[Candidate(id=str(each), text="y" * (1 + number % 7)) for each in range(4)],
        )
        for number in range(count)
    ]


def test_time_grows_with_what_is_read():
    examples = some_examples(200)
    reward = TimedReward()
    guess = estimate(reward, examples, clock=reward.clock, enough_seconds=2.0)
    exact = 0.01 * sum(5 + len(candidate.text) for example in examples for candidate in example.candidates)
    assert guess.seconds == pytest.approx(exact)
    assert (guess.num_examples, guess.num_pairs) == (200, 800)
    # One pair that is not timed, 16 that take a second, then 64.
    assert reward.sizes == [1, 16, 64]
    assert guess.probed_pairs == 64


def test_little_data_is_probed_once_and_nothing_not_at_all():
    reward = TimedReward()
    assert estimate(reward, some_examples(2), clock=reward.clock, enough_seconds=60).seconds == pytest.approx(0.52)
    assert reward.sizes == [1, 8]
    assert estimate(reward, [], clock=reward.clock) == Estimate(0, 0, 0.0, 0, 0.0)
    assert estimate(reward, []).text() == "nothing is left to score"


def test_it_is_one_line():
    line = Estimate(400_000, 80_000_000, 54_000.0, 4096, 2.8).text()
    assert line == (
        "80,000,000 pairs of 400,000 queries are left: about 15 h 0 min (1,481 pairs/s; measured on 4096 pairs)"
    )
    assert [duration(seconds) for seconds in (0.44, 65, 3600 * 3 + 61)] == ["0.4 s", "1 min 5 s", "3 h 1 min"]
