"""`python -m pipeline check`, `configure`, `look`, `absent`, `explain`; what holds dvc.yaml and docs to the code."""
