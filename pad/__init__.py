"""Self-supervised policy adaptation during deployment (Hansen et al., ICLR 2021).

The algorithm: tensors and the Gymnasium interface. It never imports a simulator.
"""

__version__ = "0.1.0"
