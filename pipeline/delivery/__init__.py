"""What is made of a file while somebody waits for it: once, by a worker, kept in storage, shared by all who ask.

A dialect turns its address into a `Recipe`, nodes of ours on files of ours; everything else is the same for all.
"""

from pipeline.delivery.ahead import AHEAD
from pipeline.delivery.delivering import Delivering
from pipeline.delivery.formats import accepted
from pipeline.delivery.order import DERIVE, Order
from pipeline.delivery.recipe import SOURCE, Recipe

__all__ = ["AHEAD", "DERIVE", "SOURCE", "Delivering", "Order", "Recipe", "accepted"]
