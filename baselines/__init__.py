"""Reference models and the recipes that train them."""
