"""A headless Chromium for the tests of the live page; `make test-page` installs what it needs."""
