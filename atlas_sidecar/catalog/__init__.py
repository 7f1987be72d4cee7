"""Models, scores and tiers as YAML data."""
