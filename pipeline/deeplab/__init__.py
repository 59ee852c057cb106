"""The teacher's network, the first weights of its encoder, and how doubtful its masks are."""
