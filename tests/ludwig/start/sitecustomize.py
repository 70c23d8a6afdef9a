"""What a Python does first that has this folder on its path: it will import Ludwig in less time.

Ludwig reads its descriptions of parameters whenever it is imported, for which PyYAML's own parser takes 3 s: libyaml
reads them. And half a million objects of torch and Ludwig are looked through for garbage again and again, of which there
is little.
"""

import functools
import gc

import yaml

gc.set_threshold(100_000, 50, 100)
yaml.safe_load = functools.partial(yaml.load, Loader=yaml.CSafeLoader)
