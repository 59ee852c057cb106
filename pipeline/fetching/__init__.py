"""From a list of addresses to photographs with their provenance: politely, safely, and gone on with after a kill."""
