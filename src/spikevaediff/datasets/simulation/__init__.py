"""A simulated session: units that fire at images, and the probes that they are on."""
