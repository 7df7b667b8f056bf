"""Siddiquei's reproduction of AstroCLIP: Spender and Stein encoders trained on, at seven dimensions of the space."""
