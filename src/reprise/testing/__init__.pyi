from . import worlds as worlds
from .contracts import check_cell as check_cell
from .contracts import check_encoder as check_encoder
from .contracts import check_loss as check_loss
from .contracts import check_scorer as check_scorer
from .server_process import Reply as Reply
from .server_process import ServerProcess as ServerProcess
from .store_contract import check_store as check_store
