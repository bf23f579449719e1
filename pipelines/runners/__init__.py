"""What runs a graph of nodes. A runner is a function like `local.run`, and a line here."""

from pipelines.runners import local

RUNNERS = {'local': local.run}
