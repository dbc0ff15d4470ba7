from .answer_frame import SentModel as SentModel
from .answer_frame import recommend as recommend
from .plain_errors import plain_errors as plain_errors
