"""Texts that several tests of the encoder share."""

UNRELATED = [
    "The boundary layer separates from the wing at a high angle of attack.",
    "Boil the potatoes for twenty minutes, then mash them with butter.",
    "The parliament voted on the new budget late on Tuesday.",
    "A cello concerto opens the orchestra's winter season.",
    "Penguins huddle together to keep warm during the polar night.",
    "The defendant appealed against the decision of the lower court.",
    "def read(path): return open(path).read()",
    "Interest rates rose by a quarter of a percentage point.",
    "Vaccines train the immune system to recognise a virus.",
    "The goalkeeper saved two penalties in the final.",
    "Plate tectonics explains why earthquakes cluster along faults.",
    "She painted the harbour in shades of grey and blue.",
    "Change the oil of the engine every ten thousand kilometres.",
    "The monastery was founded in the twelfth century.",
    "Photosynthesis turns light into chemical energy.",
    "Our flight to Lisbon was delayed by fog.",
]
