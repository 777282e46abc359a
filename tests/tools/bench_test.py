"""The verdicts of ./dev bench: what a goal grants, and what proves nothing."""

import pathlib
import sys
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "perf"))
from harness import cases, table  # noqa: E402

ROUNDS = table.ROUNDS_FOR_A_VERDICT


def around(middle, spread=0.0):
    """One value per round, with `middle` as median and quartiles about `spread` beside it."""
    return [middle + spread * (round_ - ROUNDS // 2) / 2 for round_ in range(ROUNDS)]


class Verdicts(unittest.TestCase):
    def test_quartiles_are_those_of_the_values_themselves(self):
        self.assertEqual(table.quartiles([4, 1, 3, 2, 5]), (2, 3, 4))
        self.assertEqual(table.quartiles([7]), (7, 7, 7))

    def test_goal_of_1_is_met_up_to_5_percent(self):
        self.assertTrue(table.is_ratio_met(around(1.05), around(1.0), 1.0))
        self.assertFalse(table.is_ratio_met(around(1.06), around(1.0), 1.0))

    def test_goal_of_1_is_met_when_quartiles_overlap(self):
        self.assertTrue(table.is_ratio_met(around(1.2, 0.2), around(1.0, 0.2), 1.0))
        self.assertFalse(table.is_ratio_met(around(1.2, 0.05), around(1.0, 0.05), 1.0))

    def test_any_other_goal_has_no_slack(self):
        self.assertTrue(table.is_ratio_met(around(0.5), around(1.0), 0.5))
        self.assertFalse(table.is_ratio_met(around(0.501), around(1.0), 0.5))
        self.assertFalse(table.is_ratio_met(around(0.71, 0.5), around(1.0, 0.5), 0.7))

    def test_comparison_names_ratio_goal_and_verdict(self):
        self.assertEqual(table.comparison(around(0.4), around(1.0), 0.5), "0.4x (goal 0.5x: met)")
        self.assertEqual(table.comparison(around(0.502), around(1.0), 0.5),
                         "0.502x (goal 0.5x: NOT MET)")
        self.assertEqual(table.comparison(around(0.5), around(1.0)), "0.5x")

    def test_fewer_rounds_give_no_verdict(self):
        self.assertEqual(table.comparison(around(0.4)[1:], around(1.0), 0.5),
                         f"0.4x (goal 0.5x: needs {ROUNDS} rounds)")
        self.assertEqual(table.comparison(around(9), around(1.0)[1:], 1.0),
                         f"9x (goal 1x: needs {ROUNDS} rounds)")


class Goals(unittest.TestCase):
    def test_every_goal_is_about_a_peer_of_its_case(self):
        for case in cases.ALL:
            self.assertLessEqual(set(case.bars), set(case.peers[1:]), case.name)

    def test_goals_are_printed_with_each_peer(self):
        case = next(case for case in cases.ALL if case.name == "bulk")
        names = {peer: {"GB/s": around(1), case.compared: around(1)} for peer in case.peers}
        options = types.SimpleNamespace(rounds=ROUNDS, seconds=1, connections=1)
        text = table.render([case], {case.name: names}, "a machine", options)
        for peer in case.peers[1:]:
            self.assertIn(f"| {peer} | 1 (1-1) | 1 (1-1) | 1x (goal 0.5x: NOT MET) |", text)


if __name__ == "__main__":
    unittest.main()
