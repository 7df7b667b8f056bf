"""Vrakkis's reproduction of the first AstroCLIP: heads on frozen Spender and Stein encoders, aligned."""
