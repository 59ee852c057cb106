"""The recipe: one stage of dvc.yaml is one module here."""
