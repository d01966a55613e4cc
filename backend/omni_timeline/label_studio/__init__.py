"""Everything in Label Studio's own words."""
