"""
Deblurring without knowing what lies outside
============================================

A camera sees a part of the scene, and the blur mixes in pixels from just outside this part. So every boundary rule is a
guess about pixels that nobody saw. The true map is the ``valid`` one: it reads the larger scene, and every output has a
complete window. It has more inputs than outputs, so many scenes explain the photograph. A small penalty on roughness
chooses one of them. This problem occurs with photographs, micrographs and sky surveys. Needs matplotlib and pillow.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image

import convmtx as cm

with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as photograph:  # it comes with matplotlib
    scene = np.asarray(photograph.convert("L").crop((160, 64, 334, 238))) / 255.0

motion = np.eye(15) / 15  # 15 pixels along the diagonal
camera = cm.conv(motion, scene.shape)
seen = camera(scene) + 0.005 * np.random.default_rng(0).standard_normal(camera.out_shape)
inside = np.s_[7:-7, 7:-7]
print("scene", scene.shape, " photograph", seen.shape)
print(f"{camera.shape[0]} equations for {camera.shape[1]} unknown pixels")

# %%
# Minimize ``norm(blur(x) - seen)**2 + 0.03**2 * norm(laplacian(x))**2``. Five maps guess what lies outside. In the last
# one, the pixels outside are unknowns too; they are cut off from the solution.


def restore(blur, boundary):
    laplacian = [[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]]
    rough = cm.conv(laplacian, blur.in_shape, padding="same", boundary=boundary)
    return cm.solve(blur, seen, damp=0.03, regularizer=rough, rtol=1e-4).x


images = {"photograph": seen}
for boundary in ("zero", "wrap", "reflect", "symmetric", "edge"):
    images[boundary] = restore(cm.conv(motion, seen.shape, padding="same", boundary=boundary), boundary)
images["the larger scene"] = restore(camera, "symmetric")[inside]

# %%
# The better the guess, the better the image. No guess at all is best.

levels = {name: -10 * np.log10(np.mean((image - scene[inside]) ** 2)) for name, image in images.items()}
for name, level in levels.items():
    print(f"{name:18}{level:6.2f} dB")
assert max(levels, key=levels.get) == "the larger scene"

images["true"] = scene[inside]
figure, axes = plt.subplots(2, 4, figsize=(10, 5.4), layout="constrained")
for ax, (name, image) in zip(axes.flat, images.items(), strict=True):
    ax.imshow(image, cmap="gray", vmin=0, vmax=1)
    ax.set_title(f"{name}: {levels[name]:.1f} dB" if name in levels else name, fontsize=10)
    ax.set_axis_off()

plt.show()
