"""What all of the library uses: recipes, devices, the atomic writer, the paper's numbers."""
