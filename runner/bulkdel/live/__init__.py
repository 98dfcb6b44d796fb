"""A running job as others see and steer it: control socket, pause file, live page, metrics."""
