"""What `map_images` can work with beside the processes of this machine; nothing of it is imported unless chosen."""
