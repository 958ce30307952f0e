"""A toy Stable Diffusion, trained from scratch on drawn shapes, and the demo datasets that teach it something new.

`python -m pivotal.toy --out DIR` makes the checkpoint in `extension/assets`; nothing else of pivotal imports this
package, and it imports nothing else of pivotal.
"""
