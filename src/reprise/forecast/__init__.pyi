from .forecast_heads import ForecastHeads as ForecastHeads
from .forecast_heads import HeadForecasts as HeadForecasts
from .forecast_heads import HeadWeights as HeadWeights
from .gap_distribution import GapDistribution as GapDistribution
from .recent_history import RecentHistory as RecentHistory
