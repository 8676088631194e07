"""Videos that lose nothing of their frames."""

import cv2


def write_video(path, frames, rate):
    """Frames ``(H, W, 3)`` uint8 RGB, as many a second; returns the path, an .avi."""
    frames = list(frames)
    height, width, _ = frames[0].shape
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), rate, (width, height))
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()
    return path
