"""Films: decoded while the device works, at constant memory, kept so that a run goes on."""

EXACT, FAST = "exact", "fast"
ACCURACIES = (EXACT, FAST)
