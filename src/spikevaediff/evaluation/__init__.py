"""What a reconstruction is worth: metrics, protocols, statistics, ceilings, baselines and checks."""
