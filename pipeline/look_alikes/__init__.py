"""Which pictures show the same photograph: words that they share, then features that lie alike."""
