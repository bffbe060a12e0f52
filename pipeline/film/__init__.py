"""Films: decoded while the device works, at constant memory, kept so that a run goes on."""

EXACT, FAST = "exact", "fast"
ACCURACIES = (EXACT, FAST)
#: See `tables.write_table`.
TABLE_FORMATS = ("csv", "jsonl", "parquet")
