"""The tasks that every data set and embedder can be scored on. Others come through entry points."""

from __future__ import annotations

from astroclip_bench.records import MORPHOLOGY_QUESTIONS, morphology_label
from astroclip_bench.tasks.labels import DERIVED
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
    probe="regress",
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


def _property_task(name: str, title: str, target: str, unit: str, description: str = "", *, core: bool = True) -> Task:
    return Task(
        name=name,
        version=1,
        title=title,
        description=f"{description or title}, {_WAYS}.",
        probe="regress",
        protocols=_PREDICTION_PROTOCOLS,
        modality_pairs="every",
        target=target,
        unit=unit,
        metrics=_REGRESSION,
        groups=_GROUPS,
        citation=_PARKER,
        core=core,
    )


def _question_task(question: str) -> Task:
    answers = MORPHOLOGY_QUESTIONS[question]
    return Task(
        name=f"morphology-{question}",
        version=1,
        title=f"Morphology: {question}",
        description=f"What most people answer about {question}: {', '.join(answers)}.",
        probe="classify",
        protocols=("knn16", "linear"),
        modality_pairs="every",
        target=morphology_label(question),
        classes=answers,
        metrics=("balanced_accuracy", "accuracy", "weighted_f1", "macro_f1"),
        groups=_GROUPS,
        citation="Walmsley et al. 2022, MNRAS 509, 3966; Parker et al. 2024, MNRAS 531, 4990, section 5.4",
        core=False,
    )


def _agreement_task(name: str, title: str, target: str, unit: str = "", classes: tuple[str, ...] = ()) -> Task:
    measure = "agreement" if classes else "difference"
    what = "the share that has the query's own" if classes else "the mean absolute difference from the query's"
    return Task(
        name=f"neighbours-{name}",
        version=1,
        title=f"{title} of the neighbours",
        description=f"{title} of the test objects that are nearest in the same modality: {what}.",
        probe="agree",
        protocols=("cosine",),
        modality_pairs="in-modal",
        target=target,
        unit=unit,
        classes=classes,
        metrics=(f"{measure}@10", f"{measure}@5", f"{measure}@1"),
        groups=_GROUPS,
        core=False,
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

LOOKALIKE_RETRIEVAL = Task(
    name="retrieval-lookalikes",
    version=1,
    title="Cross-modal retrieval among look-alikes",
    description="Find the galaxy itself among the 50 test galaxies closest to it in redshift and r magnitude.",
    probe="ranks",
    protocols=("cosine",),
    modality_pairs="cross",
    metrics=("recall@1", "recall@5", "recall@10", "mrr", "median_rank_fraction"),
    groups=_GROUPS,
    matched=("redshift", "mag_r"),
    core=False,
)

_PARITY = DERIVED["ssfr_astroclip_v1"]
_FIRST_QUESTION = "smooth-or-featured"

BUILTIN_TASKS: tuple[Task, ...] = (
    REDSHIFT,
    _property_task("stellar-mass", "Stellar mass", "log_stellar_mass", "dex(Msun)"),
    _property_task("age", "Mass-weighted age", "age", "Gyr"),
    _property_task("metallicity", "Stellar metallicity", "metallicity", ""),
    _property_task("ssfr", "Specific star-formation rate", "log_ssfr", "dex(1 / yr)"),
    _property_task(
        "ssfr-astroclip-v1",
        "AstroCLIP's sSFR, for parity",
        _PARITY.name,
        _PARITY.unit,
        _PARITY.description,
        core=False,
    ),
    *(_question_task(question) for question in MORPHOLOGY_QUESTIONS),
    RETRIEVAL,
    LOOKALIKE_RETRIEVAL,
    _agreement_task("redshift", "Redshift", "redshift"),
    _agreement_task("mass", "Stellar mass", "log_stellar_mass", "dex(Msun)"),
    _agreement_task(
        "morphology", "Morphology", morphology_label(_FIRST_QUESTION), classes=MORPHOLOGY_QUESTIONS[_FIRST_QUESTION]
    ),
)
