"""The drawn world: people with exact masks, made with numpy and OpenCV alone."""
