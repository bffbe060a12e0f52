"""Measured comparisons: ours against everyone, on the same images and, where shared, weights.

`runner.run_benchmark` makes a result, a plain dictionary that `BenchmarkResult` describes. Text,
Markdown, chart, history and regressions are all made of that.
"""
