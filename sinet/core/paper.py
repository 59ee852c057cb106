"""The paper's protocol, whose numbers all figures are made by."""

SIZE = 224  # pixels: picture and mask are squashed to a square of it
BAND = 15  # pixels: the square kernel of the band along a mask's outline at that size
