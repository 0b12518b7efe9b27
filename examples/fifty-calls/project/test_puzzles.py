import unittest

import puzzles


class EveryPuzzleIsSolved(unittest.TestCase):
    def test_solutions(self):
        wrong = [why for puzzle in puzzles.load() if (why := puzzles.mistake(puzzle))]
        self.assertEqual(wrong, [], f"{len(wrong)} puzzles are not solved")


class TheCheckerIsStrict(unittest.TestCase):
    def test_wrong_solutions(self):
        for solution in ("", "47-11", "47-11-11", "47-11-12-0", "36-12", "47*11-12", "__import__('os')", "47//11-12", "47-11-(12", "-12-11+47"):
            self.assertTrue(puzzles.mistake({"numbers": [12, 11, 47], "target": 24, "solution": solution}), solution)

    def test_right_solutions(self):
        for solution in ("47-11-12", "47-(11+12)"):
            self.assertEqual(puzzles.mistake({"numbers": [12, 11, 47], "target": 24, "solution": solution}), "")


if __name__ == "__main__":
    unittest.main()
