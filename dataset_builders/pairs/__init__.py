"""Cross-matched pairs of spectra and images from upstream files: index, plan, write.

1. `index` reads the light columns of every upstream file into Parquet, one file each.
2. `plan` removes duplicates, matches spectra to images, joins labels, and decides the order of the rows.
3. `source` loads the spectra and images of the planned rows, shard by shard, as a record source.

Each stage can be interrupted and goes on where it was; `build` runs them one after the other.
"""
