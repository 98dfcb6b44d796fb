"""A headless Chromium for the tests of the live page and the report; `make test-page` installs what it needs."""
