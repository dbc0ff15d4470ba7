"""The artefact floor: what a trained model becomes when it leaves training. Torch only in export.py."""

from reprise.recommender.recommendations import Continuation, Influence, Recommendation, Recommendations
from reprise.recommender.recommender import Recommender
from reprise.recommender.session import Session

__all__ = ["Continuation", "Influence", "Recommendation", "Recommendations", "Recommender", "Session"]
