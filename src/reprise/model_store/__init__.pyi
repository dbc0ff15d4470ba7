from .model_store import ModelStore as ModelStore
from .model_version import ModelVersion as ModelVersion
