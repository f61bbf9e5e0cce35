"""Draw the README's picture: kernel, image and matrix side by side, on a white background.

python docs/picture.py docs/picture.png
"""

import sys

import drawn


def main(path):
    figure = drawn.picture([["kernel", "image", "matrix"]], (9, 3.9), width_ratios=[1, 1.6, 4.6])
    figure.savefig(path, dpi=130, bbox_inches="tight", facecolor="white")


if __name__ == "__main__":
    main(sys.argv[1])
