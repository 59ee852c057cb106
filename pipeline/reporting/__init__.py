"""The dataset card and the page: figures, texts, templates."""
