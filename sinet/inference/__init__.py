"""From pictures, folders, videos and cameras to masks and composed pictures."""
