"""The table of the systems. One entry is one system; `module` is imported when it is run."""

from __future__ import annotations

from baselines.systems.system import System

_TEXT_SCORES = (
    ("retrieval", "accuracy@10%"),
    ("retrieval", "recall@10"),
    ("mock-object-class", "balanced_accuracy"),
    ("mock-science-case", "balanced_accuracy"),
)

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System(
            name="vrakkis",
            title="AstroCLIP with frozen convolutional encoders and new heads",
            paper="Vrakkis, reproduction report; encoders of Melchior et al. 2023 and Stein et al. 2021",
            module="baselines.frozen_heads.reproduce",
            differs="small encoders, pre-trained on the mock survey, in the place of the published Spender and Stein weights",
            extras=("train", "report"),
            published=("Vrakkis's reproduction",),
        ),
        System(
            name="siddiquei",
            title="AstroCLIP with convolutional encoders trained throughout, in 8 to 512 dimensions",
            paper="Siddiquei, executive summary; encoders of Liang et al. 2023 and Stein et al. 2021",
            module="baselines.unfrozen_convnets.reproduce",
            differs="small encoders and a few epochs; a query is never its own neighbour",
            main="128 dimensions",
            published=("Siddiquei's reproduction",),
        ),
        System(
            name="astroclip-v1",
            title="The first AstroCLIP: MoCo ResNet50 and a causal spectrum transformer",
            paper="Lanusse et al. 2023, arXiv:2310.03024v1",
            module="baselines.astroclip_v1.reproduce",
            differs="small networks and few epochs",
            published=("AstroCLIP (first version)",),
        ),
        System(
            name="spender",
            title="Spender: an autoencoder of spectra in the rest frame",
            paper="Melchior et al. 2023, AJ 166, 74; Liang et al. 2023, AJ 166, 75",
            module="baselines.spender.reproduce",
            differs="few epochs on thousands of spectra; outliers by distance to neighbours, not by a normalising flow",
        ),
        System(
            name="stein",
            title="Self-supervised images: similarity search, and photometric redshifts from few labels",
            paper="Stein et al. 2021, arXiv:2110.13151; Hayat et al. 2021, ApJL 911, L33",
            module="baselines.stein.reproduce",
            differs="a small network and few epochs",
        ),
        System(
            name="hubbleclip",
            title="HubbleCLIP: images and the abstracts of their proposals",
            paper="Mishra-Sharma, Song and Thaler 2024, arXiv:2403.08851",
            module="baselines.hubbleclip.reproduce",
            differs="simulated galaxies with captions of a grammar; small towers; the base model saw plainer captions, "
            "where the paper's saw the internet",
            data="mock-proposals",
            shown=_TEXT_SCORES,
            main="fine-tuned",
            extras=("train", "text"),
            published=("PAPERCLIP, fine-tuned on summaries",),
        ),
        System(
            name="three-modalities",
            title="Images, spectra and text in one space",
            paper="Not published; pairwise alignment as in Radford et al. 2021, arXiv:2103.00020",
            module="baselines.three_modalities.reproduce",
            differs="nothing was published to differ from",
            data="mock-proposals",
            extras=("train", "text"),
        ),
    )
}
