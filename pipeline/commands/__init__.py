"""`python -m pipeline check`, `configure`, `look`, `explain`; and what holds dvc.yaml and docs against the code."""
