"""What goes in: the toy world, VOC-layout folders, tags, canvases."""
