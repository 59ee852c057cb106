"""From a click on what is wrong to the mask without it, and what such clicks are worth."""
