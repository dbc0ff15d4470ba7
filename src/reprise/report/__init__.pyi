from .build import BuiltComparison as BuiltComparison
from .build import build_comparison as build_comparison
from .candidates import CandidateSource as CandidateSource
from .candidates import find_candidates as find_candidates
from .comparison_file import ComparisonRecord as ComparisonRecord
from .comparison_file import read_comparison as read_comparison
from .comparison_file import write_comparison as write_comparison
from .render import render as render
