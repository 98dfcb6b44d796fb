"""A running job as others see and steer it: control socket, keys, pause file, live page, metrics."""
