"""Builders of data sets: survey files, or a simulated survey, to clean Parquet folders."""
