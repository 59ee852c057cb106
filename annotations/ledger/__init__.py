"""From an export of the server to the lock: whose word each review is, and what is settled."""
