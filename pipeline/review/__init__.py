"""Where the recipe meets the review: which tasks are asked, gold tasks' looks, and how locked reviews are cut."""
