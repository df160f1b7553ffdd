"""Dual encoders: one file a source of them; `base` holds what they share."""

from surefoot.backbones.base import load_backbone as load_backbone
