"""Cephalometric landmark localization with an uncertainty a doctor can act on."""

__version__ = '0.1.0'
