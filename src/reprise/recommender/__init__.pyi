from .artefact.artefact import Artefact as Artefact
from .artefact.onnx_export import Exportable as Exportable
from .recommendations import Continuation as Continuation
from .recommendations import Influence as Influence
from .recommendations import Recommendation as Recommendation
from .recommendations import Recommendations as Recommendations
from .recommender import Recommender as Recommender
from .session import Session as Session
