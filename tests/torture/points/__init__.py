"""The points, one idea per module; every module here is loaded, and registers its points by `torture.point.point`."""
