"""MTCNN, and the way from a face to the portrait around it."""
