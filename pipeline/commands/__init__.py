"""What `python -m pipeline` does beside the stages, and what holds dvc.yaml against the code."""
