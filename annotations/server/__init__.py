"""The only room that speaks HTTP or starts a server: send, pull, back up, look after Label Studio."""
