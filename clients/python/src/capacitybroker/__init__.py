"""Client of the capacity broker."""
