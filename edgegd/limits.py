"""How much edgegd reads and asks for at the most. Every limit is named in the error that it causes.

A small file can describe an enormous thing: aliases of aliases, a picture of a thousand megapixels, an archive of
zeros. So every reader has its limit here, far above what real files need, and far below what a machine with 2 GB can
hold.
"""

from __future__ import annotations

YAML_BYTES = 1 << 20
"""Of a recipe, a data set YAML or the file of targets; the longest of Ultralytics' own has 60 kB."""
YAML_NODES = 50_000
"""Values of a YAML file once its aliases are written out."""
JSON_BYTES = 64 << 20
"""Of run.json, baseline.json, gate.json and the like; the longest (a ladder's codes) have a few MB."""
RECORD_BYTES = 256 << 20
"""Of a file of raw latency data, which is read line by line."""
LIST_BYTES = 64 << 20
"""Of a list file of images: half a million paths."""
LABEL_BYTES = 16 << 20
"""Of one image's label file."""
IMAGE_BYTES = 400 << 20
"""Of one image's file: as many bytes as its pixels may have."""
IMAGE_PIXELS = 120_000_000
"""Of one image; three bytes a pixel, and a second copy when it is turned by its EXIF orientation."""
IMAGE_FILES = 5_000_000
"""Of one split: COCO has 0.12 million."""
FOLDER_DEPTH = 64
"""Of folders in an image folder: links that loop look like ever deeper folders."""
CLASSES = 25_000
"""ImageNet-21k has 21,841; a head of so many makes 2 GB of scores of one small picture."""
CHARACTERS_OF_A_NAME = 1_000
"""Of a class name."""
ARCHIVE_BYTES = 2 << 30
"""Of everything that is read from one archive, unpacked."""
ARCHIVE_MEMBER_BYTES = 64 << 20
DOWNLOAD_BYTES = 4 << 30
MODEL_BYTES = 2 << 30
"""Of one protobuf message, and so of an ONNX file."""
CHECKPOINT_BYTES = 2 << 30
"""Of a checkpoint, unpacked; with its optimizer's state a large one has 1 GB."""
PARAMETERS = 250_000_000
"""Of a model; Ultralytics' largest (YOLOv5x6u) has 155 million."""
LAYERS = 1_000
"""Of an architecture file, with repeats; the longest have fewer than 100."""
LAYER_ARGUMENT = 10_000
"""Any number in a layer's entry: channels, kernels, places."""
MAP_VALUES = 500_000_000
"""That all layers together may make of a picture of 256 x 256; YOLO26x-p2 makes 130 million."""
SIDE_PX = 4096
"""Of a network's input."""
THREADS = 1024
LARGEST_SEED = 2**32 - 1
"""Of numpy, and so of everything that draws with it."""
MESSAGE_BYTES = 64 << 20
"""Of one answer of a device: ten million durations."""
STDERR_BYTES = 16 << 20
"""Of what a worker may write to its stderr; only the tail is shown."""
WORKER_FILE_BYTES = 128 << 20
"""Of any file that a worker on this machine writes: its stderr, onnxruntime's profile."""
OUTPUT_BYTES = 1 << 20
"""Of what a command on a device may answer."""
