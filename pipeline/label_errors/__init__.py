"""Which masks of people are likely wrong: networks that never saw a picture label it, and the worst come first."""
