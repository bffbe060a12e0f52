"""What is measured: the jobs, as data."""

from __future__ import annotations

from dataclasses import dataclass

NETWORK, AGAIN = "network", "again"


@dataclass(frozen=True)
class Job:
    """One kind of work.

    Attributes:
        title: What it is, for people.
        batches: Whether it takes whole batches; the others take one image.
        needs_recognition: Whether the pack must have a recognition model.
        variants: Further rows of the same comparison, done by ours.
    """

    title: str
    batches: bool = False
    needs_recognition: bool = True
    variants: tuple[str, ...] = ()


#: Titles of the variants.
VARIANTS = {
    "": "",
    NETWORK: "the detector's network alone",
    AGAIN: "the same image again",
}

JOBS = {
    "detect": Job("Detection", batches=True, needs_recognition=False, variants=(NETWORK,)),
    "embed": Job("Detection, and the embedding of every face", batches=True),
    "get": Job("get() and every embedding read", variants=(AGAIN,)),
    "get_all": Job("get() and every field of every face read"),
    "instantid": Job("InstantID's sequence on one image: embedding, then keypoints"),
}

#: What `get_all` reads, as far as the pack has it.
ALL_FIELDS = ("embedding", "landmark_2d_106", "landmark_3d_68", "pose", "gender", "age")
