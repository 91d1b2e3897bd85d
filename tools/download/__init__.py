"""Downloads public weights and datasets, verifies them, and unpacks them where the scripts look for them."""
