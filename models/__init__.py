"""The only place that builds chat models and embedders."""

import core as core  # it sets how many threads numpy's linear algebra has, so it comes before numpy
