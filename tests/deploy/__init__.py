"""`make test-deploy`: the image is built and run, the manifests and units are checked by their own tools."""
