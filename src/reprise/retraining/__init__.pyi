from .continue_run import Retrained as Retrained
from .continue_run import retrain as retrain
from .gate import Gate as Gate
from .gate import GateResult as GateResult
from .new_events import prepare_as_before as prepare_as_before
from .warm_start import WarmStart as WarmStart
