"""Reading a source as it was published: its layout, each of its pictures, and equal pixels."""
