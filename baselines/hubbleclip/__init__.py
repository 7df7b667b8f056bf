"""HubbleCLIP, published as PAPERCLIP (Mishra-Sharma, Song and Thaler 2024, arXiv 2403.08851): images and proposals' texts.

CLIP models through open_clip, fine-tuned on images and the abstracts that asked for them, with the paper's controls.
"""

from __future__ import annotations
