"""`python -m pipeline check`, `configure`, `look` and `explain`; and what holds dvc.yaml and docs against the code."""
