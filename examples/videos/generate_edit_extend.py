"""Make a clip, change it, let it go on; three files, with a bar while each is made.

python examples/videos/generate_edit_extend.py [FOLDER]
"""

import os
import sys
from pathlib import Path

from raincheck import Raincheck

client = Raincheck()
model = os.environ.get("RAINCHECK_VIDEO_MODEL", "preview")
folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
folder.mkdir(parents=True, exist_ok=True)

clip = client.videos.generate(
    model=model,
    prompt="A rocket launching into space, then stars drifting by",
    seconds=5,
    resolution="480p",
    seed=7,
    wait_for_completion=True,
    progress=True,
)
edited = client.videos.edit(
    model=model, video=clip, prompt="black and white and slower 2x", wait_for_completion=True, progress=True
)
extended = client.videos.extend(
    model=model, video=clip, prompt="A sunset over the ocean", seconds=3, wait_for_completion=True, progress=True
)

for name, video in (("clip", clip), ("edited", edited), ("extended", extended)):
    path = client.videos.download(video, folder / f"{name}.mp4")
    made = video.data[0]
    print(f"{path}: {made.duration} s, {made.width}x{made.height}")
