"""The tasks that every data set and embedder can be scored on. Others come through entry points."""

from __future__ import annotations

from astroclip_bench.tasks.task import Task

_PARKER = "Parker et al. 2024, MNRAS 531, 4990, sections 5.2 and 5.3"
_PREDICTION_PROTOCOLS = ("knn16", "knn64-std", "direct", "linear", "mlp")
_WAYS = (
    "zero-shot from the nearest training galaxies in embedding space, by a probe trained on the embeddings, "
    "or as the model itself predicts it"
)
_GROUPS = ("redshift", "mag_r", "snr", "hemisphere")
_REGRESSION = ("r2", "rmse", "mae", "bias", "spearman")

REDSHIFT = Task(
    name="redshift",
    version=1,
    title="Redshift",
    description=f"Spectroscopic redshift, {_WAYS}.",
    probe="knn",
    protocols=_PREDICTION_PROTOCOLS,
    modality_pairs="every",
    target="redshift",
    metrics=(
        *_REGRESSION,
        "sigma_nmad",
        "dz_bias",
        "outlier_fraction_0.15",
        "outlier_fraction_0.05",
        "outlier_fraction_0.003",
        "pit_uniformity",
        "crps",
    ),
    groups=_GROUPS,
    citation=_PARKER,
)


def _property_task(name: str, title: str, target: str, unit: str) -> Task:
    return Task(
        name=name,
        version=1,
        title=title,
        description=f"{title}, {_WAYS}.",
        probe="knn",
        protocols=_PREDICTION_PROTOCOLS,
        modality_pairs="every",
        target=target,
        unit=unit,
        metrics=_REGRESSION,
        groups=_GROUPS,
        citation=_PARKER,
    )


RETRIEVAL = Task(
    name="retrieval",
    version=1,
    title="Cross-modal retrieval",
    description="Find the galaxy itself among all test galaxies seen in the other modality, by cosine similarity.",
    probe="ranks",
    protocols=("cosine",),
    modality_pairs="cross",
    metrics=(
        "recall@10",
        "recall@1",
        "recall@5",
        "mrr",
        "median_rank_fraction",
        "accuracy@1%",
        "accuracy@5%",
        "accuracy@10%",
        "accuracy@20%",
        "accuracy@50%",
    ),
    groups=(),
    citation="Radford et al. 2021, arXiv:2103.00020, section 3.1; Mishra-Sharma et al. 2024, arXiv:2403.08851, section 4",
)

BUILTIN_TASKS: tuple[Task, ...] = (
    REDSHIFT,
    _property_task("stellar-mass", "Stellar mass", "log_stellar_mass", "dex(Msun)"),
    _property_task("age", "Mass-weighted age", "age", "Gyr"),
    _property_task("metallicity", "Stellar metallicity", "metallicity", ""),
    _property_task("ssfr", "Specific star-formation rate", "log_ssfr", "dex(1 / yr)"),
    RETRIEVAL,
)
