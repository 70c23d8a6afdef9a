"""What a Python does first that has this folder on its path: it will read YAML with libyaml.

Ludwig reads its descriptions of parameters whenever it is imported, for which PyYAML's own parser takes 3 s.
"""

import functools

import yaml

yaml.safe_load = functools.partial(yaml.load, Loader=yaml.CSafeLoader)
