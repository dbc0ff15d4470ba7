import reprise.datasets as _datasets

from .config import spec as spec
from .data import ColumnSplit as ColumnSplit
from .data import LeaveOneOut as LeaveOneOut
from .data import SequenceDataset as SequenceDataset
from .data import TimeSplit as TimeSplit
from .data import describe as describe
from .data import prepare as prepare
from .data import read_events as read_events
from .errors import ArtefactError as ArtefactError
from .errors import ConfigError as ConfigError
from .errors import DataError as DataError
from .evaluation import EvaluationProtocol as EvaluationProtocol
from .evaluation import Report as Report
from .evaluation import compare as compare
from .evaluation import evaluate as evaluate
from .evaluation import evaluate_lists as evaluate_lists
from .models import Adversarial as Adversarial
from .models import Autoencoder as Autoencoder
from .models import Caser as Caser
from .models import ContentCooccurrence as ContentCooccurrence
from .models import ContentKNN as ContentKNN
from .models import Convolution as Convolution
from .models import Cooccurrence as Cooccurrence
from .models import Ensemble as Ensemble
from .models import FeedForward as FeedForward
from .models import ItemKNN as ItemKNN
from .models import Markov as Markov
from .models import Popularity as Popularity
from .models import RecentPopularity as RecentPopularity
from .models import Recurrent as Recurrent
from .models import SessionKNN as SessionKNN
from .models import SessionPopularity as SessionPopularity
from .models import Transformer as Transformer
from .recommender import Recommender as Recommender
from .training import Recipe as Recipe
from .training import RunOptions as RunOptions
from .training import TrainingConfig as TrainingConfig
from .training import load_run as load_run
from .training import train as train
from .training import train_seeds as train_seeds
from .training import tune as tune

datasets = _datasets
__version__: str
