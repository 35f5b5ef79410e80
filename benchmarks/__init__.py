"""What makes docs/results: baselines, benchmark, studies, speed, tables, pre-training."""
