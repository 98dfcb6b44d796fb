"""One module at a time: values in, values out; files at most."""
