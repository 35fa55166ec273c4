"""What an agent is reminded of: which memory to search, and the organisation's own knowledge."""

import core as core  # it sets how many threads numpy's linear algebra has, so it comes before numpy
