"""The page of `scn serve`: photographs are dropped on it, restored on this machine, and compared under a slider."""
